{# People as the second directory is to have them: columns are attributes of inetOrgPerson. -#}
select uid, full_name as cn, last_name as sn, email as mail, cast(department_id as varchar) as "departmentNumber"
from {{ ref('ldap_users') }}
