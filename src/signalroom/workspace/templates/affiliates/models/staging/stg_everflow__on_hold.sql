with held as (
  {{ source_rows('everflow', 'on_hold', [
    ('date', 'date'),
    ('converted_at', 'timestamptz'),
    ('on_hold_id', 'text'),
    ('status', 'text'),
    ('held_until', 'timestamptz'),
    ('note', 'text'),
    ('conversion_id', 'text'),
    ('is_event', 'boolean'),
    ('advertiser_id', 'bigint'),
    ('affiliate_id', 'bigint'),
    ('offer_id', 'bigint'),
    ('revenue', 'decimal(18, 2)'),
    ('payout', 'decimal(18, 2)'),
    ('currency_id', 'text'),
  ] + lineage_columns()) }}
)

select
  date,
  {{ project_of('advertiser_id', 'cast(null as text)') }} as project,
  affiliate_id,
  advertiser_id,
  offer_id,
  on_hold_id,
  conversion_id,
  coalesce(is_event, false) as is_event,
  status,
  held_until,
  converted_at,
  {{ trimmed('note') }} as note,
  revenue,
  payout,
  currency_id,
  _load_id,
  _loaded_at
from held
