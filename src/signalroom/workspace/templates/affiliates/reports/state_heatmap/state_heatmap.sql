-- Orders and revenue by billing state over the seven days that end with the report's; orders on test cards are left out.
-- Revenue is the amount of approved orders, as in public.daily_orders.
-- bind: advertiser_id = %
-- include: _freshness.sql

-- name: totals one
select
  count(*) as orders,
  count(case when status = 'NEW' then 1 end) as approved,
  cast(coalesce(sum(case when status = 'NEW' then total_amount end), 0) as decimal(18, 2)) as revenue,
  count(distinct upper(trim(billing_state))) as states
from marts.orders
where order_date > cast(:report_date as date) - 7 and order_date <= cast(:report_date as date) and not is_test;

-- name: states many
with states as (
  select
    coalesce(nullif(upper(trim(billing_state)), ''), 'None given') as state,
    count(*) as orders,
    count(case when status = 'NEW' then 1 end) as approved,
    cast(coalesce(sum(case when status = 'NEW' then total_amount end), 0) as decimal(18, 2)) as revenue
  from marts.orders
  where order_date > cast(:report_date as date) - 7 and order_date <= cast(:report_date as date) and not is_test
  group by 1
)
select state, orders, approved, revenue
from states
order by revenue desc, orders desc, state collate "C"
limit 60;

-- name: mapped many
-- What the map draws: everything that may be a state's two letters.
select
  upper(trim(billing_state)) as state,
  cast(coalesce(sum(case when status = 'NEW' then total_amount end), 0) as decimal(18, 2)) as revenue
from marts.orders
where order_date > cast(:report_date as date) - 7 and order_date <= cast(:report_date as date) and not is_test
  and length(trim(billing_state)) = 2
group by 1
order by 1
limit 700;
