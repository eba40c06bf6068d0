{#-
  Orders per date and project (the product's category) without test cards, from the current state of each.

  An hourly build brings no exports: then the table stands for itself, and no order is read.
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
{%- set seen = loads_seen(['s3_exports.orders_create', 's3_exports.orders_update'], [
  ref('stg_s3_exports__orders'),
  ref('stg_s3_exports__orders_create'),
  ref('stg_s3_exports__orders_update'),
]) -%}

-- seen: {{ seen }}
{% if is_incremental() and not flags.FULL_REFRESH and seen == comment_of(this) and 'loads to' in seen -%}
select * from {{ this }}
{% else -%}
select
  order_date as date,
  coalesce(project, 'Unknown') as project,
  count(case when not is_test then 1 end) as orders,
  count(case when not is_test and status = 'NEW' then 1 end) as approved,
  count(case when not is_test and status = 'DECLINED' then 1 end) as declined,
  count(case when not is_test and status = 'VOID/REFUNDED' then 1 end) as voided,
  count(case when is_test then 1 end) as test_orders,
  cast(coalesce(sum(case when not is_test and status = 'NEW' then total_amount end), 0) as decimal(18, 2)) as revenue,
  count(case when not is_test and chargeback_flag then 1 end) as chargebacks
from {{ ref('stg_s3_exports__orders') }}
where order_date is not null
group by order_date, coalesce(project, 'Unknown')
{% endif %}
