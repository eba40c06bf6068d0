-- Affiliates by revenue over the seven days that end with the report's, all projects together, beside the seven before.
-- bind: advertiser_id = %
-- include: _freshness.sql

-- name: totals one
select
  cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then everflow_revenue end), 0) as decimal(18, 2))
    as revenue,
  cast(coalesce(sum(case when date <= cast(:report_date as date) - 7 then everflow_revenue end), 0) as decimal(18, 2))
    as revenue_before,
  cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then conversions end), 0) as bigint) as conversions,
  cast(coalesce(sum(case when date > cast(:report_date as date) - 7 then cost end), 0) as decimal(18, 2)) as cost,
  count(distinct case when date > cast(:report_date as date) - 7 and everflow_revenue > 0 then affiliate_label end)
    as affiliates
from public.daily_performance
where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date);

-- name: board many
with week as (
  select
    affiliate_label as label,
    is_internal,
    -- include: _sums.sql
  from public.daily_performance
  where date > cast(:report_date as date) - 7 and date <= cast(:report_date as date)
  group by affiliate_label, is_internal
),
week_before as (
  select affiliate_label as label, is_internal, cast(sum(everflow_revenue) as decimal(18, 2)) as revenue
  from public.daily_performance
  where date > cast(:report_date as date) - 14 and date <= cast(:report_date as date) - 7
  group by affiliate_label, is_internal
)
select
  row_number() over (order by week.revenue desc, week.label collate "C", week.is_internal) as place,
  week.label,
  week.is_internal,
  conversions,
  week.revenue,
  cost,
  cast(week.revenue - cost as decimal(18, 2)) as margin,
  week_before.revenue as revenue_before,
  -- include: _cpa.sql
from week
left join week_before on week_before.label = week.label and week_before.is_internal = week.is_internal
where week.revenue > 0
order by week.revenue desc, week.label collate "C", week.is_internal
limit 15;
