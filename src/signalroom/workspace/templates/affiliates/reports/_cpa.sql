  -- A piece of a query, after conversions and half_cents = 200 * cost + conversions: cost / conversions, half up to the
  -- cent, null without conversions. It is counted in whole half cents, because DuckDB divides decimals as floats and
  -- 1.15 / 2 would round down there.
  case
    when conversions > 0 then
      cast((half_cents - mod(half_cents, 2 * conversions)) / (2 * conversions) * 0.01 as decimal(18, 2))
  end as cpa
