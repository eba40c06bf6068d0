-- The daily CCW summary (advertiser 1): every number of one local day, and what it stands on.
--
-- Runs unchanged on DuckDB and Postgres. cpa = cost / conversions, half up to the cent, null without conversions: it
-- is counted in whole half cents, because DuckDB divides decimals as floats and 1.15 / 2 would round down there.

-- name: overall one
with day as (
  select
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(everflow_revenue), 0) as decimal(18, 2)) as revenue,
    cast(coalesce(sum(cost), 0) as decimal(18, 2)) as cost,
    cast(coalesce(sum(cost), 0) * 200 as bigint) + cast(coalesce(sum(conversions), 0) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = 'CCW'
)
select conversions, revenue, cost, case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa
from day;

-- name: internal one
with day as (
  select
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(cost), 0) as decimal(18, 2)) as cost,
    cast(coalesce(sum(cost), 0) * 200 as bigint) + cast(coalesce(sum(conversions), 0) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = 'CCW' and is_internal
)
select conversions, cost, case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa
from day;

-- name: external one
with day as (
  select
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(cost), 0) as decimal(18, 2)) as cost,
    cast(coalesce(sum(cost), 0) * 200 as bigint) + cast(coalesce(sum(conversions), 0) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = 'CCW' and not is_internal
)
select conversions, cost, case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa
from day;

-- name: top many
with days as (
  select
    affiliate_label as label,
    is_internal,
    cast(sum(conversions) as bigint) as conversions,
    cast(sum(cost) * 200 as bigint) + cast(sum(conversions) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) and advertiser = 'CCW'
  group by affiliate_label, is_internal
)
select label, conversions, case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa,
  is_internal
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
left join public.daily_performance as p on p.date = days.date and p.advertiser = 'CCW'
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
where date = cast(:report_date as date) and project = 'CCW';

-- name: unmapped one
-- Spend that no row of internal-affiliates.csv claims: it is nobody's, so it is in no project's cost.
select cast(coalesce(sum(redtrack_cost), 0) as decimal(18, 2)) as spend
from public.daily_performance
where date = cast(:report_date as date) and advertiser is null;

-- name: previous one
with day as (
  select
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(everflow_revenue), 0) as decimal(18, 2)) as revenue,
    cast(coalesce(sum(cost), 0) as decimal(18, 2)) as cost,
    cast(coalesce(sum(cost), 0) * 200 as bigint) + cast(coalesce(sum(conversions), 0) as bigint) as half_cents
  from public.daily_performance
  where date = cast(:report_date as date) - 1 and advertiser = 'CCW'
)
select conversions, revenue, cost, case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa
from day;

-- name: freshness many
-- When each source was last asked about the day. Everflow's numbers stand once the local day was over, Redtrack's
-- cost once three days had passed, the orders once a file came after the day's end.
with day as (
  select
    cast(cast(:report_date as date) as text) as partition_name,
    cast(cast(:report_date as date) + 1 as timestamp) at time zone cast(:timezone as text) as ended_at,
    cast(cast(:report_date as date) + 3 as timestamp) at time zone cast(:timezone as text) as settled_at
),
asked as (
  select p.source, max(cast((cast(p.value as json) ->> 'observed_at') as timestamptz)) as as_of
  from signalroom.positions as p
  cross join day
  where (p.source = 'everflow' and p.stream = 'daily_stats' or p.source = 'redtrack' and p.stream = 'daily_spend')
    and p."partition" in (day.partition_name, day.partition_name || '|advertiser_id=1')
  group by p.source
),
files as (
  select max(newest) as as_of
  from (
    select max(_file_time) as newest from staging.stg_s3_exports__orders_create
    union all
    select max(_file_time) as newest from staging.stg_s3_exports__orders_update
  ) as both_tables
),
sources as (
  select 'everflow' as source, (select as_of from asked where source = 'everflow') as as_of, ended_at as final_from,
    'the day was not over when it was last read' as reason
  from day
  union all
  select 'redtrack', (select as_of from asked where source = 'redtrack'), settled_at,
    'ad costs settle for three days'
  from day
  union all
  select 's3_exports', (select as_of from files), ended_at, 'the files of the night after are not in yet'
  from day
)
select
  source,
  as_of,
  coalesce(as_of >= final_from, false) as is_final,
  case
    when as_of is null then 'nothing was read for this day'
    when as_of < final_from then reason
    else ''
  end as note
from sources
order by source;
