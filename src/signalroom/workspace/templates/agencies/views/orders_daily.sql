SELECT
    day,
    count(*) AS orders,
    count(*) FILTER (WHERE status = 'NEW') AS taken,
    sum(CASE WHEN status = 'NEW' THEN amount ELSE 0 END) AS amount
FROM orders
GROUP BY day
