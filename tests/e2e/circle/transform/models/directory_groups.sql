{# Groups with those members who are people with a row of their own. A group without any is left out: groupOfNames needs one. -#}
select g.name as cn, g.description, list(u.dn order by u.dn_key) as member
from {{ ref('ldap_groups') }} as g
join {{ ref('ldap_memberships') }} as m on m.group_key = g.dn_key
join {{ ref('ldap_users') }} as u on u.dn_key = m.member_key
group by g.name, g.description
