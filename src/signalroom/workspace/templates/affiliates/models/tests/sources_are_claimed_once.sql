{{ config(severity='warn') }}
-- Sources that rows of internal-affiliates.csv give to more than one affiliate or project: only one of them gets the
-- spend (the row that names more, else the one further up), because spend is never counted twice.
select source_id, count(*) as claims
from (
  select distinct source_id, project, affiliate_id
  from {{ ref('affiliate_mapping') }}
  where valid_to is null and source_id is not null
) as claims
group by source_id
having count(*) > 1
