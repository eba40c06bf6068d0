-- Without conversions there is no cost per conversion: null, never 0.
select * from {{ ref('daily_performance') }}
where (conversions = 0 and cpa is not null) or (conversions > 0 and cpa is null)
