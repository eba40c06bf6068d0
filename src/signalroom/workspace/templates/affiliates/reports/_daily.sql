-- The daily summary of one advertiser (:project): every number of one local day, and what it stands on.
--
-- Runs unchanged on DuckDB and Postgres.

-- name: overall one
with day as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = :project
)
select conversions, revenue, cost,
  -- include: _cpa.sql
from day;

-- name: internal one
with day as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = :project and is_internal
)
select conversions, cost,
  -- include: _cpa.sql
from day;

-- name: external one
with day as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = :project and not is_internal
)
select conversions, cost,
  -- include: _cpa.sql
from day;

-- name: top many
with days as (
  select
    affiliate_label as label,
    is_internal,
    cast(sum(conversions) as bigint) as conversions,
    cast(sum(cost) * 200 as bigint) + cast(sum(conversions) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = :project
  group by affiliate_label, is_internal
)
select label, conversions, is_internal,
  -- include: _cpa.sql
from days
where conversions > 0
order by conversions desc, label collate "C", is_internal
limit 5;

-- name: trend many
-- 14 days up to the report's; a day without rows is a day of zeros.
with days as (
  select cast(cast(:report_date as date) - 13 + cast(n as integer) as date) as date from generate_series(0, 13) as t(n)
)
select
  days.date,
  cast(coalesce(sum(p.conversions), 0) as bigint) as conversions,
  cast(coalesce(sum(p.everflow_revenue), 0) as decimal(18, 2)) as revenue,
  cast(coalesce(sum(p.cost), 0) as decimal(18, 2)) as cost
from days
left join public.daily_performance as p on p.date = days.date and p.advertiser = :project
group by days.date
order by days.date;

-- name: orders one
-- From the CRM's exports, test cards left out of everything but their own count.
select
  cast(coalesce(sum(orders), 0) as bigint) as orders,
  cast(coalesce(sum(approved), 0) as bigint) as approved,
  cast(coalesce(sum(declined), 0) as bigint) as declined,
  cast(coalesce(sum(voided), 0) as bigint) as voided,
  cast(coalesce(sum(test_orders), 0) as bigint) as test_orders,
  cast(coalesce(sum(revenue), 0) as decimal(18, 2)) as revenue,
  cast(coalesce(sum(chargebacks), 0) as bigint) as chargebacks
from public.daily_orders
where date = cast(:report_date as date) and project = :project;

-- name: unmapped one
-- Spend that no row of internal-affiliates.csv claims: it is nobody's, so it is in no project's cost.
select cast(coalesce(sum(redtrack_cost), 0) as decimal(18, 2)) as spend
from public.daily_performance
where date = cast(:report_date as date) and advertiser is null;

-- name: previous one
with day as (
  select
    -- include: _sums.sql
  from public.daily_performance
  where date = cast(:report_date as date) - 1 and advertiser = :project
)
select conversions, revenue, cost,
  -- include: _cpa.sql
from day;
