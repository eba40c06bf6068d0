with adjustments as (
  {{ source_rows('everflow', 'adjustments', [
    ('date', 'date'),
    ('adjustment_id', 'bigint'),
    ('affiliate_id', 'bigint'),
    ('offer_id', 'bigint'),
    ('total_clicks', 'bigint'),
    ('conversions', 'bigint'),
    ('revenue', 'decimal(18, 2)'),
    ('payout', 'decimal(18, 2)'),
    ('notes', 'text'),
    ('is_deleted', 'boolean'),
    ('made_at', 'timestamptz'),
    ('saved_at', 'timestamptz'),
  ] + lineage_columns()) }}
),

-- An adjustment names its offer, and the offer its advertiser: without the stream `offers` the project stays null.
offers as (
  {{ source_rows('everflow', 'offers', [('offer_id', 'bigint'), ('advertiser_id', 'bigint')]) }}
)

select
  a.date,
  {{ project_of('o.advertiser_id', 'cast(null as text)') }} as project,
  a.affiliate_id,
  o.advertiser_id,
  a.offer_id,
  a.adjustment_id,
  a.total_clicks,
  a.conversions,
  a.revenue,
  a.payout,
  {{ trimmed('a.notes') }} as notes,
  coalesce(a.is_deleted, false) as is_deleted,
  a.made_at,
  coalesce(a.saved_at, a.made_at) as saved_at,
  a._load_id,
  a._loaded_at
from adjustments as a
left join offers as o on o.offer_id = a.offer_id
