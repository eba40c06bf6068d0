{#-
  One row per local date, advertiser and affiliate: what came in and what it cost.

  A FULL join written as a union: conversions and spend meet in the group of their date, project and affiliate, and
  whichever has no partner is a row of its own. Spend of a source that nobody mapped is a row without advertiser.
  So the total of `cost` is the total spend plus the payout of external affiliates, to the cent
  (tests/total_cost_is_conserved.sql).

  An internal affiliate costs its ad spend, an external one its payout. The mapping in force holds for every date:
  mending it mends history.
-#}
{{ config(
  schema='public',
  materialized='incremental',
  incremental_strategy='changed_days',
  unique_key='date',
  full_refresh=false,
  on_schema_change='append_new_columns',
  post_hook='{{ keep_seen() }}'
) }}

-- seen: {{ loads_seen(['everflow.daily_stats', 'redtrack.daily_spend']) }}
with facts as (
  select
    e.date,
    e.project as advertiser,
    coalesce(k.affiliate_label, e.affiliate_label) as affiliate_label,
    k.affiliate_id is not null as is_internal,
    e.conversions,
    e.payout,
    e.revenue,
    cast(0 as decimal(18, 2)) as spend,
    cast(0 as bigint) as spend_clicks
  from {{ ref('stg_everflow__daily_stats') }} as e
  left join {{ ref('affiliate_keys') }} as k
    on k.key_kind = 'affiliate' and k.project = e.project and k.affiliate_id = e.affiliate_id
  union all
  select
    r.date,
    k.project as advertiser,
    coalesce(k.affiliate_label, 'Unmapped: ' || r.source_name) as affiliate_label,
    true as is_internal,
    0 as conversions,
    0 as payout,
    0 as revenue,
    r.cost as spend,
    r.clicks as spend_clicks
  from {{ ref('stg_redtrack__daily_spend') }} as r
  left join {{ ref('affiliate_keys') }} as k on k.key_kind = 'source' and k.source_id = r.source_id
),

days as (
  select
    date,
    advertiser,
    affiliate_label,
    cast(coalesce(sum(conversions), 0) as bigint) as conversions,
    cast(coalesce(sum(payout), 0) as decimal(18, 2)) as everflow_payout,
    cast(coalesce(sum(revenue), 0) as decimal(18, 2)) as everflow_revenue,
    cast(coalesce(sum(spend), 0) as decimal(18, 2)) as redtrack_cost,
    cast(coalesce(sum(spend_clicks), 0) as bigint) as redtrack_clicks,
    is_internal
  from facts
  group by date, advertiser, affiliate_label, is_internal
),

priced as (
  select days.*, case when is_internal then redtrack_cost else everflow_payout end as cost from days
)

select
  date,
  advertiser,
  affiliate_label,
  conversions,
  everflow_payout,
  everflow_revenue,
  redtrack_cost,
  redtrack_clicks,
  is_internal,
  cost,
  {{ cost_per('cost', 'conversions') }} as cpa
from priced
where date is not null
