{#- Groups, normalised, with how many members they have. -#}
select g.dn_key, g.dn, g.entry_uuid, g.name, g.description, count(m.member_key) as members, g.extracted_at
from {{ ref('stg_ldap__groups') }} as g
left join {{ ref('ldap_memberships') }} as m on m.group_key = g.dn_key
where g.name is not null
group by g.dn_key, g.dn, g.entry_uuid, g.name, g.description, g.extracted_at
