{{ config(severity='warn') }}
-- Sources that spent in the last two weeks of data and that no row of internal-affiliates.csv names.
select source_id, source_name, sum(cost) as spend
from {{ ref('stg_redtrack__daily_spend') }} as r
where date > (select max(date) - 14 from {{ ref('stg_redtrack__daily_spend') }})
  and not exists (
    select 1 from {{ ref('affiliate_keys') }} as k where k.key_kind = 'source' and k.source_id = r.source_id
  )
group by source_id, source_name
having sum(cost) <> 0
