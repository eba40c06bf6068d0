{#-
  The mapping in force as unique keys, so that a join with it can neither double nor drop a row.

  A key is a source (whose spend is it?), an affiliate of a project (is it internal?), or an offer and an affiliate
  of a project. Where several rows claim one key, the row that names more wins, then the one further up the file.
-#}
with mapping as (
  select
    *,
    case when offer_id is null then 0 else 1 end + case when affiliate_id is null then 0 else 1 end as named
  from {{ ref('affiliate_mapping') }}
  where valid_to is null and project is not null
),

affiliates as (
  select
    'affiliate' as key_kind,
    project,
    cast(null as text) as source_id,
    affiliate_id,
    cast(null as bigint) as offer_id,
    coalesce(affiliate_label, 'Affiliate ' || affiliate_id) as affiliate_label,
    {{ place_in('project, affiliate_id', 'case when affiliate_label is null then 1 else 0 end, file_row') }} as place
  from mapping
  where affiliate_id is not null
),

offers as (
  select
    'offer' as key_kind,
    project,
    cast(null as text) as source_id,
    affiliate_id,
    offer_id,
    coalesce(affiliate_label, 'Affiliate ' || affiliate_id) as affiliate_label,
    {{ place_in('project, affiliate_id, offer_id', 'file_row') }} as place
  from mapping
  where affiliate_id is not null and offer_id is not null
),

sources as (
  select
    'source' as key_kind,
    m.project,
    m.source_id,
    m.affiliate_id,
    cast(null as bigint) as offer_id,
    coalesce(a.affiliate_label, m.affiliate_label, m.source_name, m.source_id) as affiliate_label,
    {{ place_in('m.source_id', 'm.named desc, m.file_row') }} as place
  from mapping as m
  left join affiliates as a on a.project = m.project and a.affiliate_id = m.affiliate_id and a.place = 1
  where m.source_id is not null
)

select
  key_kind,
  project,
  source_id,
  affiliate_id,
  cast(affiliate_id as text) as affiliate_key,
  offer_id,
  affiliate_label
from (
  select * from affiliates
  union all
  select * from offers
  union all
  select * from sources
) as keys
where place = 1
