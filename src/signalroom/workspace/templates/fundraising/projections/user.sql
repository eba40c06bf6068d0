select
  uuid, name, birthday, email, phone, address, street_address, city, postal_code, locality, region, country
from users
