{#-
  The current state of every order, and whether its affiliate is one of our own.

  A view: one copy of personal data less, and never behind the tables. The mapping's keys are unique, so the joins
  can neither double nor drop an order.
-#}
select
  o.*,
  a.key_kind is not null as is_internal,
  coalesce(f.affiliate_label, a.affiliate_label) as internal_label
from {{ ref('stg_s3_exports__orders') }} as o
left join {{ ref('affiliate_keys') }} as a
  on a.key_kind = 'affiliate' and a.project = o.project and a.affiliate_key = o.affiliate_key
left join {{ ref('affiliate_keys') }} as f
  on f.key_kind = 'offer' and f.project = o.project and f.affiliate_key = o.affiliate_key and f.offer_id = o.offer_id
