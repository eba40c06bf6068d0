{#-
  Every version of every row of internal-affiliates.csv, by the commit time of the loads that brought and removed
  it. A row is its content: a changed row closes one version and opens another.

  Earlier versions are nowhere else in the warehouse, so no rebuild may drop this table (`full_refresh=false`);
  it grows by the rows a new file changes.
-#}
{{ config(
  materialized='incremental',
  incremental_strategy='delete+insert',
  unique_key='version_id',
  full_refresh=false,
  on_schema_change='append_new_columns'
) }}
{%- set content = ['project', 'affiliate_id', 'affiliate_label', 'source_id', 'source_name', 'offer_id', 'notes'] -%}

with arrived as (
  select
    md5(
      {%- for name in content %}
      coalesce('=' || {{ name }}, '-') || '|'{{ ' ||' if not loop.last }}
      {%- endfor %}
    ) as content_key,
    {{ content | join(',\n    ') }},
    _row,
    _load_id,
    _loaded_at
  from {{ ref('stg_s3_exports__internal_affiliates') }}
),

present as (
  select
    md5(content_key || _load_id) as version_id,
    content_key,
    {{ content | join(',\n    ') }},
    _row as file_row,
    _loaded_at as valid_from,
    cast(null as timestamptz) as valid_to,
    _load_id as load_id,
    cast(null as text) as closed_by_load_id
  from (
    select arrived.*, {{ place_in('content_key', '_row') }} as place from arrived
  ) as placed
  where place = 1
)

{% if not is_incremental() %}
select * from present
{% else -%}
, open_versions as (
  select * from {{ this }} where valid_to is null
),

newest as (
  select coalesce(max(_loaded_at), current_timestamp) as loaded_at, max(_load_id) as load_id from arrived
)

-- came
select present.* from present
where content_key not in (select content_key from open_versions)
union all
-- moved to another row of the file: the same version
select
  o.version_id,
  o.content_key,
  {% for name in content %}o.{{ name }}, {% endfor %}
  present.file_row,
  o.valid_from,
  o.valid_to,
  o.load_id,
  o.closed_by_load_id
from open_versions as o
inner join present on present.content_key = o.content_key and present.file_row <> o.file_row
union all
-- went
select
  o.version_id,
  o.content_key,
  {% for name in content %}o.{{ name }}, {% endfor %}
  o.file_row,
  o.valid_from,
  newest.loaded_at as valid_to,
  o.load_id,
  newest.load_id as closed_by_load_id
from open_versions as o
cross join newest
where o.content_key not in (select content_key from present)
{% endif %}
