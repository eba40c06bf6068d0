{#-
  The current state of every order. A view: one copy of personal data less, and never behind the tables.

  Create and update rows hold one row per order each, so the winner of the two needs no sort: an update loses
  only to a create row of a later file (a corrected re-upload), and a create row loses to any other update.
  Both arms are anti-joins by key; a filter on order_date reaches the tables.
-#}
{%- set columns -%}
  {%- for name, type in order_columns() %}
    o.{{ name }},
  {%- endfor %}
{%- endset -%}

with current_orders as (
  select
    {{ columns }}
    'orders_update' as _stream
  from {{ ref('stg_s3_exports__orders_update') }} as o
  where not exists (
    select 1 from {{ ref('stg_s3_exports__orders_create') }} as c
    where c.orders_id = o.orders_id and c._file_time > o._file_time
  )
  union all
  select
    {{ columns }}
    'orders_create' as _stream
  from {{ ref('stg_s3_exports__orders_create') }} as o
  where not exists (
    select 1 from {{ ref('stg_s3_exports__orders_update') }} as u
    where u.orders_id = o.orders_id and coalesce(o._file_time > u._file_time, false) = false
  )
),

described as (
  select
    current_orders.*,
    {{ project_named('product_category') }} as project,
    coalesce(upper(trim(order_status)), '') as status,
    coalesce(is_test_cc, false) as is_test,
    coalesce(affid, afid) as affiliate_key
  from current_orders
)

select
  o.*,
  a.key_kind is not null as is_internal,
  coalesce(f.affiliate_label, a.affiliate_label) as internal_label
from described as o
left join {{ ref('affiliate_keys') }} as a
  on a.key_kind = 'affiliate' and a.project = o.project and a.affiliate_key = o.affiliate_key
left join {{ ref('affiliate_keys') }} as f
  on f.key_kind = 'offer' and f.project = o.project and f.affiliate_key = o.affiliate_key and f.offer_id = o.offer_id
