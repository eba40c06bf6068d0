select uuid, name, created_at, updated_at from campaigns
