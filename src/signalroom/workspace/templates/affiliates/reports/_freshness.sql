-- What the figures of a day stand on; :advertiser_id is the advertiser in Everflow, % for all of them (then the one
-- that was read longest ago counts).

-- name: freshness many
-- When each source was last asked about the day. Everflow's numbers stand once the local day was over, Redtrack's
-- cost once three days had passed, the orders once a file came after the day's end.
with day as (
  select
    cast(cast(:report_date as date) as text) as partition_name,
    cast(cast(:report_date as date) + 1 as timestamp) at time zone cast(:timezone as text) as ended_at,
    cast(cast(:report_date as date) + 3 as timestamp) at time zone cast(:timezone as text) as settled_at
),
slices as (
  select p.source, max(cast((cast(p.value as json) ->> 'observed_at') as timestamptz)) as as_of
  from signalroom.positions as p
  cross join day
  where (p.source = 'everflow' and p.stream = 'daily_stats' or p.source = 'redtrack' and p.stream = 'daily_spend')
    and (p."partition" = day.partition_name
      or p."partition" like day.partition_name || '|advertiser_id=' || cast(:advertiser_id as text))
  group by p.source, p."partition"
),
asked as (
  select source, min(as_of) as as_of from slices group by source
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
