with stats as (
  {{ source_rows('everflow', 'daily_stats', [
    ('date', 'date'),
    ('affiliate_id', 'bigint'),
    ('affiliate_label', 'text'),
    ('advertiser_id', 'bigint'),
    ('advertiser_label', 'text'),
    ('clicks', 'bigint'),
    ('conversions', 'bigint'),
    ('total_conversions', 'bigint'),
    ('revenue', 'decimal(18, 2)'),
    ('payout', 'decimal(18, 2)'),
    ('profit', 'decimal(18, 2)'),
  ] + lineage_columns()) }}
)

select
  date,
  {{ project_of('advertiser_id', 'advertiser_label') }} as project,
  affiliate_id,
  coalesce({{ trimmed('affiliate_label') }}, 'Affiliate ' || affiliate_id) as affiliate_label,
  advertiser_id,
  clicks,
  conversions,
  total_conversions,
  revenue,
  payout,
  profit,
  _load_id,
  _loaded_at
from stats
