{# Groups without a single member among them: then their `member` (or `uniqueMember`) was not selected in the tap, and every model of memberships is empty. -#}
with counts as (
  select (select count(*) from {{ ref('stg_ldap__groups') }}) as all_groups, (select count(*) from {{ ref('ldap_memberships') }}) as memberships
)

select all_groups, memberships, 'select member or uniqueMember of the groups in the tap' as remedy from counts
where all_groups > 0 and memberships = 0
