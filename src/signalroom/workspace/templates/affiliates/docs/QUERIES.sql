-- Queries to start from. Each runs as it is on DuckDB and Postgres, against what `signalroom build` made;
-- "the newest day" is the newest one with numbers, so that nothing has to be filled in.

-- name: cost_and_cpa_by_affiliate
-- What did each affiliate bring on the newest day, what did it cost, and per conversion?
select advertiser, affiliate_label, is_internal, conversions, everflow_revenue as revenue, cost, cpa
from public.daily_performance
where date = (select max(date) from public.daily_performance)
order by advertiser, conversions desc, affiliate_label;

-- name: internal_against_external
-- Paid media of our own against affiliates, by week.
select
  cast(date_trunc('week', date) as date) as week,
  advertiser,
  case when is_internal then 'internal' else 'external' end as traffic,
  sum(conversions) as conversions,
  sum(cost) as cost
from public.daily_performance
where advertiser is not null
group by 1, 2, 3
order by 1, 2, 3;

-- name: affiliate_leaderboard
-- Who earned most in the last 30 days of data, and what was left after cost?
select
  advertiser,
  affiliate_label,
  sum(conversions) as conversions,
  sum(everflow_revenue) as revenue,
  sum(everflow_revenue) - sum(cost) as margin
from public.daily_performance
where date > (select max(date) - 30 from public.daily_performance) and advertiser is not null
group by advertiser, affiliate_label
order by revenue desc, advertiser, affiliate_label
limit 20;

-- name: week_over_week
-- Each project's conversions and cost beside those of the week before.
with weeks as (
  select cast(date_trunc('week', date) as date) as week, advertiser, sum(conversions) as conversions, sum(cost) as cost
  from public.daily_performance
  where advertiser is not null
  group by 1, 2
)
select
  week,
  advertiser,
  conversions,
  conversions - lag(conversions) over (partition by advertiser order by week) as more_conversions,
  cost,
  cost - lag(cost) over (partition by advertiser order by week) as more_cost
from weeks
order by week desc, advertiser;

-- name: unmapped_spend
-- Which sources spend without a row in internal-affiliates.csv, and since when?
select r.source_id, r.source_name, min(r.date) as since, max(r.date) as until, sum(r.cost) as spend
from staging.stg_redtrack__daily_spend as r
where not exists (
  select 1 from marts.affiliate_keys as k where k.key_kind = 'source' and k.source_id = r.source_id
)
group by r.source_id, r.source_name
order by spend desc, r.source_id;

-- name: spend_by_affiliate_and_source
-- Whose spend is which source's? An affiliate keeps the spend of all of its sources.
select k.project, k.affiliate_label, r.source_name, sum(r.clicks) as clicks, sum(r.cost) as spend
from staging.stg_redtrack__daily_spend as r
inner join marts.affiliate_keys as k on k.key_kind = 'source' and k.source_id = r.source_id
group by k.project, k.affiliate_label, r.source_name
order by k.project, spend desc, r.source_name;

-- name: spend_without_conversions
-- Days on which an internal affiliate spent and nobody converted: cpa is null there, not 0.
select date, advertiser, affiliate_label, cost, redtrack_clicks
from public.daily_performance
where is_internal and conversions = 0 and cost > 0 and advertiser is not null
order by cost desc, date, affiliate_label
limit 50;

-- name: cost_proof
-- Per day: total cost, and the two sums it has to equal.
select
  date,
  sum(cost) as cost,
  sum(redtrack_cost) as spend,
  sum(case when is_internal then 0 else everflow_payout end) as external_payout
from public.daily_performance
group by date
order by date desc
limit 31;

-- name: what_is_on_hold
-- Conversions that no report counts yet: how much waits, for whom, and until when? (streams = [..., "on_hold"])
select
  h.project,
  coalesce(min(s.affiliate_label), 'Affiliate ' || h.affiliate_id) as affiliate_label,
  h.currency_id,
  count(*) as held,
  sum(h.revenue) as revenue,
  sum(h.payout) as payout,
  min(h.held_until) as first_ends,
  max(h.held_until) as last_ends
from staging.stg_everflow__on_hold as h
left join (
  select affiliate_id, min(affiliate_label) as affiliate_label from staging.stg_everflow__daily_stats group by affiliate_id
) as s on s.affiliate_id = h.affiliate_id
where h.status = 'on_hold'
group by h.project, h.affiliate_id, h.currency_id
order by payout desc, h.project, affiliate_label;

-- name: what_was_adjusted_after_the_report
-- Why is a day's number not the one of its report? What people adjusted, or took back, after 07:00 of the morning after.
-- (streams = [..., "adjustments", "offers"]; the sign is that of the change, the zone that of the reports)
select
  a.date,
  a.project,
  coalesce(s.affiliate_label, 'Affiliate ' || a.affiliate_id) as affiliate_label,
  case when a.is_deleted then 'taken back' else 'adjusted' end as change,
  case when a.is_deleted then -a.conversions else a.conversions end as conversions,
  case when a.is_deleted then -a.revenue else a.revenue end as revenue,
  case when a.is_deleted then -a.payout else a.payout end as payout,
  a.saved_at,
  a.notes
from staging.stg_everflow__adjustments as a
left join (
  select affiliate_id, min(affiliate_label) as affiliate_label from staging.stg_everflow__daily_stats group by affiliate_id
) as s on s.affiliate_id = a.affiliate_id
where a.saved_at > (cast(a.date as timestamp) + interval '31 hours') at time zone 'America/New_York'
  -- made and taken back since: no report ever showed it, and none will
  and not (a.is_deleted and a.made_at > (cast(a.date as timestamp) + interval '31 hours') at time zone 'America/New_York')
order by a.date desc, a.saved_at desc, a.adjustment_id
limit 100;

-- name: order_funnel
-- Of the orders of the last 30 days of data: how many were approved, declined, voided, charged back?
select
  project,
  sum(orders) as orders,
  sum(approved) as approved,
  cast(100.0 * sum(approved) / nullif(sum(orders), 0) as decimal(5, 1)) as approved_percent,
  sum(declined) as declined,
  sum(voided) as voided,
  sum(chargebacks) as chargebacks,
  sum(test_orders) as test_orders
from public.daily_orders
where date > (select max(date) - 30 from public.daily_orders)
group by project
order by project;

-- name: orders_by_state
-- Where do approved orders come from? Test cards left out.
select billing_state, count(*) as orders, sum(total_amount) as revenue
from marts.orders
where not is_test and status = 'NEW'
group by billing_state
order by orders desc, billing_state
limit 60;

-- name: decline_reasons
-- Why are orders declined?
select project, coalesce(decline_reason, 'not said') as reason, count(*) as orders
from marts.orders
where not is_test and status = 'DECLINED'
group by 1, 2
order by orders desc, 1, 2
limit 30;

-- name: revenue_by_product
-- What sells, by product, of the last 30 days of data.
select project, product_sku, product_name, count(*) as orders, sum(total_amount) as revenue
from marts.orders
where not is_test and status = 'NEW' and order_date > (select max(date) - 30 from public.daily_orders)
group by project, product_sku, product_name
order by revenue desc, product_sku
limit 30;

-- name: orders_of_internal_affiliates
-- The CRM's own view of internal traffic: orders and revenue by the label in the mapping.
select project, internal_label, count(*) as orders, sum(case when status = 'NEW' then total_amount else 0 end) as revenue
from marts.orders
where is_internal and not is_test
group by project, internal_label
order by project, revenue desc, internal_label;

-- name: prospects_without_an_order
-- Who left an address in the last week of data and has not ordered since (matched by e-mail)?
select p.product_category as project, count(*) as prospects
from staging.stg_s3_exports__prospects as p
where p.order_date > (select max(order_date) - 7 from staging.stg_s3_exports__prospects)
  and not exists (
    select 1 from marts.orders as o
    where lower(trim(o.billing_email)) = lower(trim(p.billing_email)) and o.order_date >= p.order_date and not o.is_test
  )
group by p.product_category
order by p.product_category;

-- name: mapping_history
-- What did internal-affiliates.csv say, and when did it change?
select project, affiliate_id, affiliate_label, source_name, offer_id, valid_from, valid_to
from marts.affiliate_mapping
order by valid_from, file_row;
