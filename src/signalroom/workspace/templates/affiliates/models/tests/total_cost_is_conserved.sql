-- Each date's total cost is its Redtrack spend plus the payout of external affiliates, to the cent, and nothing
-- that came in or was spent is missing: one row per date and figure that differs.
with external_payout as (
  select e.date, sum(e.payout) as payout
  from {{ ref('stg_everflow__daily_stats') }} as e
  where not exists (
    select 1 from {{ ref('affiliate_mapping') }} as m
    where m.valid_to is null and m.project = e.project and m.affiliate_id = e.affiliate_id
  )
  group by e.date
),

came as (
  select date, sum(conversions) as conversions, sum(revenue) as revenue, sum(payout) as payout
  from {{ ref('stg_everflow__daily_stats') }}
  group by date
),

spent as (
  select date, sum(cost) as spend, sum(clicks) as clicks
  from {{ ref('stg_redtrack__daily_spend') }}
  group by date
),

expected as (
  select
    d.date,
    coalesce(spent.spend, 0) + coalesce(external_payout.payout, 0) as cost,
    coalesce(spent.spend, 0) as spend,
    coalesce(spent.clicks, 0) as clicks,
    coalesce(came.conversions, 0) as conversions,
    coalesce(came.revenue, 0) as revenue,
    coalesce(came.payout, 0) as payout
  from (select date from came union select date from spent) as d
  left join came on came.date = d.date
  left join spent on spent.date = d.date
  left join external_payout on external_payout.date = d.date
),

found as (
  select
    date,
    sum(cost) as cost,
    sum(redtrack_cost) as spend,
    sum(redtrack_clicks) as clicks,
    sum(conversions) as conversions,
    sum(everflow_revenue) as revenue,
    sum(everflow_payout) as payout
  from {{ ref('daily_performance') }}
  group by date
)

select coalesce(expected.date, found.date) as date, expected.cost as expected_cost, found.cost as found_cost
from expected
full join found on found.date = expected.date
where (
    expected.date is null or found.date is null
    or expected.cost <> found.cost
    or expected.spend <> found.spend
    or expected.clicks <> found.clicks
    or expected.conversions <> found.conversions
    or expected.revenue <> found.revenue
    or expected.payout <> found.payout
  )
  and {{ nothing_came_since(ref('daily_performance'), ['everflow.daily_stats', 'redtrack.daily_spend']) }}
