select uuid, name, country_code::text as country_code, created_at, updated_at from charities
