{# What the models have to make of the seed's rows, and nothing else. -#}
with expected as (
  select 'user' as what, 'ada|Ada Lovelace|Lovelace|ada.lovelace@example.com|42' as row_text
  union all select 'user', 'grace,hopper|Grace Hopper|Hopper|grace@example.com|-'
  union all select 'group', 'staff|Everybody|4'
  union all select 'group', 'admins|-|0'
  union all select 'group', 'empty|-|0'
  union all select 'membership', 'staff|ada|user'
  union all select 'membership', 'staff|grace,hopper|user'
  union all select 'membership', 'staff|-|group'
  union all select 'membership', 'staff|-|-'
),

actual as (
  select 'user' as what, uid || '|' || full_name || '|' || last_name || '|' || email || '|' || coalesce(cast(department_id as varchar), '-') as row_text
  from {{ ref('ldap_users') }} where extracted_at is not null
  union all
  select 'group', name || '|' || coalesce(description, '-') || '|' || members from {{ ref('ldap_groups') }}
  union all
  select 'membership', group_name || '|' || coalesce(uid, '-') || '|' || coalesce(member_type, '-') from {{ ref('ldap_memberships') }}
)

(select 'missing' as problem, * from expected except all select 'missing', * from actual)
union all
(select 'unexpected' as problem, * from actual except all select 'unexpected', * from expected)
