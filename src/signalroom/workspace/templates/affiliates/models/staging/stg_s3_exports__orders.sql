{#-
  The current state of every order, without saying whose it is.

  Create and update hold one row per order each, so the winner of the two needs no sort: an update loses only to a
  create row of a later file (a corrected re-upload), and a create row loses to any other update. Both arms are
  anti-joins by key, so that a filter on orders_id or order_date reaches the tables.
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
)

select
  o.*,
  {{ project_named('o.product_category') }} as project,
  coalesce(upper(trim(o.order_status)), '') as status,
  coalesce(o.is_test_cc, false) as is_test,
  coalesce(o.affid, o.afid) as affiliate_key
from current_orders as o
