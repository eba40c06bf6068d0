-- Every dated order is counted once, as a test card or not: a row when the counts differ.
with ids as (
  select orders_id from {{ ref('stg_s3_exports__orders_create') }} where order_date is not null
  union
  select orders_id from {{ ref('stg_s3_exports__orders_update') }} where order_date is not null
),

counts as (
  select
    (select count(*) from ids) as expected,
    (select coalesce(sum(orders + test_orders), 0) from {{ ref('daily_orders') }}) as found
)

select expected, found from counts where expected <> found
