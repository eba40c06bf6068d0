-- A piece of a query: the figures of rows of public.daily_performance, added up. Without a row, zeros.
-- half_cents is what _cpa.sql makes the CPA of.
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(everflow_revenue), 0) as decimal(18, 2)) as revenue,
    cast(coalesce(sum(cost), 0) as decimal(18, 2)) as cost,
    cast(coalesce(sum(cost), 0) * 200 as bigint) + cast(coalesce(sum(conversions), 0) as bigint) as half_cents
