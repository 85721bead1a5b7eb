"""Which relations a statement may name: the catalogue's by an allow-list, everything else as the role is granted.

A table that nobody knows is PostgreSQL's to refuse (42P01), and one that isn't granted too (42501).
"""

from typing import Final

# What clients read to learn about tables, columns, types, keys and defaults. It says nothing about rows, sessions,
# other roles' rights, or the server.
CATALOGUE: Final = frozenset(
    """
    pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_cast pg_class pg_collation pg_constraint
    pg_database pg_depend pg_description pg_enum pg_extension pg_index pg_indexes pg_inherits pg_language pg_matviews
    pg_namespace pg_opclass pg_operator pg_opfamily pg_partitioned_table pg_proc pg_range pg_sequence pg_tables
    pg_trigger pg_type
    """.split()
)

# The others, by the reason that keeps them out. A relation in neither list is refused as well; a test holds both lists
# against the catalogue of the server.
REFUSED: Final = {
    "roles and their settings": """
        pg_authid pg_auth_members pg_roles pg_shadow pg_user pg_group pg_db_role_setting pg_default_acl pg_init_privs
        pg_parameter_acl pg_policy pg_policies pg_seclabel pg_seclabels pg_shseclabel pg_user_mapping pg_user_mappings
    """,
    "settings and files of the server": """
        pg_settings pg_file_settings pg_hba_file_rules pg_ident_file_mappings pg_config pg_tablespace
        pg_backend_memory_contexts pg_shmem_allocations pg_shmem_allocations_numa pg_available_extensions
        pg_available_extension_versions pg_timezone_abbrevs pg_timezone_names pg_aios pg_wait_events
    """,
    "other sessions": "pg_locks pg_cursors pg_prepared_statements pg_prepared_xacts",
    "values of columns, as statistics": """
        pg_statistic pg_stats pg_statistic_ext pg_statistic_ext_data pg_stats_ext pg_stats_ext_exprs
    """,
    "values of sequences": "pg_sequences",
    "definitions of views and rules, which hold other keys' conditions": "pg_views pg_rewrite pg_rules",
    "large objects": "pg_largeobject pg_largeobject_metadata",
    "replication and foreign servers": """
        pg_publication pg_publication_namespace pg_publication_rel pg_publication_tables pg_subscription
        pg_subscription_rel pg_replication_origin pg_replication_origin_status pg_replication_slots
        pg_foreign_data_wrapper pg_foreign_server pg_foreign_table
    """,
    "insides that no client reads": """
        pg_conversion pg_event_trigger pg_shdepend pg_shdescription pg_transform pg_ts_config pg_ts_config_map
        pg_ts_dict pg_ts_parser pg_ts_template
    """,
}
_REASONS: Final = {name: reason for reason, names in REFUSED.items() for name in names.split()}
# Statistics of activity have one prefix: pg_stat_activity, pg_statio_all_tables, pg_stat_statements …
STATISTICS_PREFIX: Final = "pg_stat"
SYSTEM_PREFIX: Final = "pg_"
CATALOGUE_SCHEMA: Final = "pg_catalog"
INFORMATION_SCHEMA: Final = "information_schema"


def refusal_of(schema: str | None, name: str) -> str | None:
    """Why a relation may not be named, or None. Without a schema, pg_catalog comes before any search path."""
    if schema is not None and schema != CATALOGUE_SCHEMA:
        return f"{schema}.{name} is the server's own" if schema.startswith(SYSTEM_PREFIX) else None
    if name in CATALOGUE or (schema is None and not name.startswith(SYSTEM_PREFIX)):
        return None
    if name.startswith(STATISTICS_PREFIX):
        return f"{name} is not readable: statistics"

    return f"{name} is not readable: {_REASONS.get(name, 'not a relation that the policy knows')}"
