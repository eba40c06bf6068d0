with mapping as (
  {{ source_rows('s3_exports', 'internal_affiliates', [
    ('project', 'text'),
    ('affiliate_id', 'bigint'),
    ('affiliate_label', 'text'),
    ('redtrack_source_id', 'text'),
    ('redtrack_source_name', 'text'),
    ('everflow_offer_id', 'bigint'),
    ('notes', 'text'),
  ] + lineage_columns()) }}
)

select
  {{ project_named(trimmed('project')) }} as project,
  affiliate_id,
  {{ trimmed('affiliate_label') }} as affiliate_label,
  {{ trimmed('redtrack_source_id') }} as source_id,
  {{ trimmed('redtrack_source_name') }} as source_name,
  everflow_offer_id as offer_id,
  {{ trimmed('notes') }} as notes,
  _load_id,
  _loaded_at,
  _source_ref,
  _row
from mapping
