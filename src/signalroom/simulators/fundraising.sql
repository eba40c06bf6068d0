-- A fundraising app's own tables, as such apps have them: pages and teams without a stable uuid, one donation a row,
-- amounts in whole minor units (cents, pence) with their currency.
create table charities (
  id bigint generated always as identity primary key,
  uuid uuid not null unique,
  name text not null,
  country_code char(2) not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create table campaigns (
  id bigint generated always as identity primary key,
  uuid uuid not null unique,
  charity_id bigint not null references charities,
  name text not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create table users (
  id bigint generated always as identity primary key,
  uuid uuid not null unique,
  name text not null,
  birthday date,
  email text not null,
  phone text,
  address text,
  street_address text,
  city text,
  postal_code text,
  locality text,
  region text,
  country text,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create table teams (
  id bigint generated always as identity primary key,
  name text not null,
  url text not null,
  target bigint not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
-- A page is a supporter's, who may raise for a team, or it is a team's own.
create table pages (
  id bigint generated always as identity primary key,
  campaign_id bigint not null references campaigns,
  owner_type text not null check (owner_type in ('User', 'Team')),
  owner_id bigint not null,
  team_id bigint references teams,
  team_position integer,
  name text not null,
  slug text not null unique,
  url text not null,
  target bigint not null,
  country_code char(2) not null,
  currency_code char(3) not null,
  expiry_date date not null,
  status text not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index pages_owner on pages (owner_id);
create index pages_team on pages (team_id);
create unique index pages_team_page on pages (owner_id) where owner_type = 'Team';
create table donations (
  id bigint generated always as identity primary key,
  page_id bigint not null references pages on delete cascade,
  amount bigint not null,
  currency_code char(3) not null,
  created_at timestamptz not null
);
create index donations_page on donations (page_id);
create table offline_donations (
  id bigint generated always as identity primary key,
  page_id bigint not null references pages on delete cascade,
  amount bigint not null,
  currency_code char(3) not null,
  created_at timestamptz not null
);
create index offline_donations_page on offline_donations (page_id);
-- What supporters count beside money: kilometres run, heads shaved.
create table custom_counters (
  id bigint generated always as identity primary key,
  page_id bigint not null references pages on delete cascade,
  counted bigint not null,
  created_at timestamptz not null
);
create index custom_counters_page on custom_counters (page_id);
