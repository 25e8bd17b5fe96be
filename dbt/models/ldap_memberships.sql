{#- Who is in which group: a row for each member of each group. A member may be a person, a group, or something that was not loaded. -#}
with members as (
  select dn_key as group_key, name as group_name, unnest(members) as member_dn from {{ ref('stg_ldap__groups') }}
),

keyed as (
  select group_key, group_name, member_dn, {{ ldap.ldap_dn_key('member_dn') }} as member_key from members
),

-- A name may be among a group's members in two spellings.
distinct_members as (
  select group_key, group_name, member_key, min(member_dn) as member_dn from keyed
  where member_key is not null and member_key <> ''
  group by group_key, group_name, member_key
)

select
  m.group_key, m.group_name, m.member_key, m.member_dn,
  u.uid,
  case when u.dn_key is not null then 'user' when g.dn_key is not null then 'group' end as member_type
from distinct_members as m
left join {{ ref('stg_ldap__users') }} as u on u.dn_key = m.member_key
left join {{ ref('stg_ldap__groups') }} as g on g.dn_key = m.member_key
