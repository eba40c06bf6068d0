-- The seven days that end with the report's beside the seven before, all projects and each.
-- bind: advertiser_id = %
-- include: _freshness.sql

-- name: week one
with days as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date > cast(:report_date as date) - 7 and date <= cast(:report_date as date)
)
select conversions, revenue, cost,
  -- include: _cpa.sql
from days;

-- name: week_before one
with days as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date) - 7
)
select conversions, revenue, cost,
  -- include: _cpa.sql
from days;

-- name: projects many
with weeks as (
  select
    coalesce(advertiser, 'Not mapped') as project,
    date > cast(:report_date as date) - 7 as is_now,
    -- include: _sums.sql
  from public.daily_performance
  where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date)
  group by 1, 2
),
priced as (
  select weeks.*,
    -- include: _cpa.sql
  from weeks
)
select
  project,
  max(case when is_now then conversions end) as conversions,
  max(case when is_now then revenue end) as revenue,
  max(case when is_now then cost end) as cost,
  max(case when is_now then cpa end) as cpa,
  max(case when not is_now then revenue end) as revenue_before,
  max(case when not is_now then cost end) as cost_before
from priced
group by project
order by project collate "C"
limit 20;

-- name: days many
-- A day without rows is a day of zeros.
with days as (
  select cast(cast(:report_date as date) - 6 + cast(n as integer) as date) as date from generate_series(0, 6) as t(n)
)
select
  days.date,
  cast(coalesce(sum(case when p.date = days.date then p.everflow_revenue end), 0) as decimal(18, 2)) as revenue,
  cast(coalesce(sum(case when p.date = days.date - 7 then p.everflow_revenue end), 0) as decimal(18, 2))
    as revenue_before,
  cast(coalesce(sum(case when p.date = days.date then p.conversions end), 0) as bigint) as conversions
from days
left join public.daily_performance as p on p.date = days.date or p.date = days.date - 7
group by days.date
order by days.date;

-- name: movers many
-- Who gained or lost the most revenue, against the week before.
with weeks as (
  select
    affiliate_label as label,
    is_internal,
    cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then everflow_revenue end), 0)
      as decimal(18, 2)) as revenue,
    cast(coalesce(sum(case when date <= cast(:report_date as date) - 7 then everflow_revenue end), 0)
      as decimal(18, 2)) as revenue_before
  from public.daily_performance
  where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date)
  group by affiliate_label, is_internal
)
select label, is_internal, revenue, revenue_before, cast(revenue - revenue_before as decimal(18, 2)) as moved
from weeks
where revenue <> revenue_before
order by abs(revenue - revenue_before) desc, label collate "C", is_internal
limit 6;

-- name: orders one
select
  cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then approved end), 0) as bigint) as approved,
  cast(coalesce(sum(case when date <= cast(:report_date as date) - 7 then approved end), 0) as bigint)
    as approved_before,
  cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then revenue end), 0) as decimal(18, 2)) as revenue,
  cast(coalesce(sum(case when date <= cast(:report_date as date) - 7 then revenue end), 0) as decimal(18, 2))
    as revenue_before
from public.daily_orders
where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date);
