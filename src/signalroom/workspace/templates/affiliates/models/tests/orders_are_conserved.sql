-- Every dated order is counted once, as a test card or not: a row when the counts differ.
-- The ids are counted from the keys alone; the rows are read for undated orders only when that does not come out.
with counts as (
  select
    (select count(*) from {{ ref('stg_s3_exports__orders_create') }})
    + (
      select count(*) from {{ ref('stg_s3_exports__orders_update') }} as u
      where not exists (
        select 1 from {{ ref('stg_s3_exports__orders_create') }} as c where c.orders_id = u.orders_id
      )
    ) as orders,
    (select coalesce(sum(orders + test_orders), 0) from {{ ref('daily_orders') }}) as counted
)

select orders, counted from counts
where case
  when orders = counted then false
  else orders - (select count(*) from {{ ref('stg_s3_exports__orders') }} where order_date is null) <> counted
end
  and {{ nothing_came_since(ref('daily_orders'), ['s3_exports.orders_create', 's3_exports.orders_update']) }}
