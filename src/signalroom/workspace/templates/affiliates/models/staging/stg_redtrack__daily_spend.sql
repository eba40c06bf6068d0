with spend as (
  {{ source_rows('redtrack', 'daily_spend', [
    ('date', 'date'),
    ('source_id', 'text'),
    ('source_name', 'text'),
    ('source_alias', 'text'),
    ('clicks', 'bigint'),
    ('conversions', 'bigint'),
    ('total_conversions', 'bigint'),
    ('cost', 'decimal(18, 2)'),
  ] + lineage_columns()) }}
)

select
  date,
  source_id,
  coalesce({{ trimmed('source_name') }}, {{ trimmed('source_alias') }}, source_id) as source_name,
  clicks,
  conversions,
  total_conversions,
  cost,
  _load_id,
  _loaded_at
from spend
