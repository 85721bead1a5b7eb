"""Which of PostgreSQL's functions a statement may call, group by group, each group with its reason.

The list of what may be called decides. The list of what may not gives the refusal its rule and its reason, and makes
the choice complete: a test holds both against the catalogue, so that the functions of a new PostgreSQL get a decision.
Functions that the application owns are not here; a key calls those that its scope was granted.
"""

import fnmatch
import functools
import re
from typing import Final

import msgspec

ALLOWED: Final = {
    "aggregates and window functions see only rows that the statement may see": """
        any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp cume_dist
        dense_rank every first_value json_agg json_agg_strict json_object_agg json_object_agg_strict
        json_object_agg_unique json_object_agg_unique_strict jsonb_agg jsonb_agg_strict jsonb_object_agg
        jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict lag last_value lead max min mode
        nth_value ntile percent_rank percentile_cont percentile_disc range_agg range_intersect_agg rank regr_avgx
        regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number stddev stddev_pop
        stddev_samp string_agg sum var_pop var_samp variance
    """,
    "numbers: computed from their arguments": """
        abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh cot cotd
        degrees div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 min_scale mod pi pow power radians
        random random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
    """,
    "text: computed from their arguments; repeat and the pads end at the gigabyte of a value or at the deadline": """
        ascii bit_count bit_length btrim casefold char_length character_length chr concat concat_ws crc32 crc32c
        format initcap is_normalized left length like like_escape lower lpad ltrim md5 normalize notlike octet_length
        overlay parse_ident position quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like
        regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat
        replace reverse right rpad rtrim similar_escape similar_to_escape split_part starts_with string_to_array
        string_to_table strpos substr substring textlen to_ascii to_bin to_hex to_oct translate unicode_assigned unistr
        upper
    """,
    "bytes and hashes: computed from their arguments": """
        convert convert_from convert_to decode encode get_bit get_byte set_bit set_byte sha224 sha256 sha384 sha512
    """,
    "times: the clock and arithmetic": """
        age clock_timestamp date_add date_bin date_part date_subtract date_trunc extract isfinite justify_days
        justify_hours justify_interval make_date make_interval make_time make_timestamp make_timestamptz now overlaps
        statement_timestamp timeofday timezone to_char to_date to_number to_timestamp transaction_timestamp
    """,
    "arrays: computed from their arguments": """
        array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
        array_positions array_prepend array_remove array_replace array_reverse array_sample array_shuffle array_sort
        array_to_json array_to_string array_upper cardinality generate_subscripts trim_array unnest
    """,
    "rows out of nothing, bounded by the caps on rows and bytes and by the deadline": "generate_series",
    "JSON: computed from their arguments": """
        json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
        json_each_text json_extract_path json_extract_path_text json_object json_object_keys json_populate_record
        json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_array_elements
        jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_concat jsonb_contained
        jsonb_contains jsonb_delete jsonb_delete_path jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all
        jsonb_exists_any jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys
        jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
        jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz
        jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty
        jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json
        to_jsonb
    """,
    "ranges: computed from their arguments": """
        datemultirange daterange int4multirange int4range int8multirange int8range isempty lower_inc lower_inf
        multirange nummultirange numrange range_merge tsmultirange tsrange tstzmultirange tstzrange upper_inc upper_inf
    """,
    "identifiers: random or read from their argument": """
        gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
    """,
    "text search over the arguments, with the server's dictionaries": """
        array_to_tsvector get_current_ts_config json_to_tsvector jsonb_to_tsvector numnode phraseto_tsquery
        plainto_tsquery querytree setweight strip to_tsquery to_tsvector ts_delete ts_filter ts_headline ts_rank
        ts_rank_cd tsquery_phrase tsvector_to_array websearch_to_tsquery
    """,
    "network addresses: computed from their arguments": """
        abbrev broadcast family host hostmask inet_merge inet_same_family macaddr8_set7bit masklen netmask network
        set_masklen
    """,
    "geometry: computed from its arguments": """
        area center diagonal diameter height isclosed ishorizontal isopen isparallel isperp isvertical npoints pclose
        popen radius slope width
    """,
    "nulls: counted in the arguments": "num_nonnulls num_nulls",
    "casts in the form of a function": """
        bit bool box bpchar bytea char cidr circle date float4 float8 inet int2 int4 int8 interval json jsonb line lseg
        macaddr macaddr8 money name numeric oid path pg_lsn point polygon regclass regtype text time timestamp
        timestamptz timetz tsquery tsvector uuid varbit varchar
    """,
    "enums: their labels": "enum_first enum_last enum_range",
    "input checks: whether a text is a value of a type": "pg_input_error_info pg_input_is_valid",
    "who and where the caller is, which it knows": """
        current_catalog current_database current_role current_schema current_schemas current_user session_user
        system_user user version
    """,
    "what clients ask when they read the catalogue: names, types, keys, defaults and the caller's own rights": """
        _pg_expandarray col_description format_type has_any_column_privilege has_column_privilege
        has_database_privilege has_function_privilege has_schema_privilege has_sequence_privilege has_table_privilege
        has_type_privilege obj_description pg_basetype pg_char_to_encoding pg_client_encoding pg_collation_for
        pg_collation_is_visible pg_column_is_updatable pg_encoding_to_char pg_function_is_visible pg_get_constraintdef
        pg_get_expr pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
        pg_get_function_result pg_get_indexdef pg_get_keywords pg_get_partition_constraintdef pg_get_partkeydef
        pg_get_replica_identity_index pg_get_serial_sequence pg_get_userbyid pg_index_column_has_property
        pg_index_has_property pg_indexam_has_property pg_is_in_recovery pg_is_other_temp_schema pg_my_temp_schema
        pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_partition_ancestors pg_partition_root
        pg_partition_tree pg_relation_is_updatable pg_size_bytes pg_size_pretty pg_table_is_visible pg_type_is_visible
        pg_typeof row_security_active to_regclass to_regnamespace to_regproc to_regprocedure to_regtype to_regtypemod
    """,
    "samples of a table": "bernoulli system",
}  # fmt: skip


class Refused(msgspec.Struct, frozen=True):
    """A group that no statement may call: why, and its names; `*` stands for any ending."""

    reason: str
    names: str


REFUSED: Final = {
    "settings": Refused(
        "settings outlive the statement, and some are secret",
        """set_config pg_show_all_settings pg_show_all_file_settings pg_settings_get_flags pg_hba_file_rules
        pg_ident_file_mappings pg_options_to_table setseed pg_config""",
    ),
    "dynamic_sql": Refused(
        "it runs a text that was not judged, or reads whatever table it is told",
        """query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
        table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema
        database_to_xml database_to_xml_and_xmlschema database_to_xmlschema ts_stat ts_rewrite dblink* crosstab*
        connectby xpath_table""",
    ),
    "files": Refused(
        "it reads or writes files of the server, or tells where they are",
        """pg_read_* pg_ls_* pg_stat_file pg_file_* pg_logdir_ls pg_current_logfile pg_rotate_logfile*
        pg_filenode_relation pg_relation_filenode pg_relation_filepath pg_tablespace_location pg_tablespace_databases
        pg_import_system_collations postgres_fdw_* file_fdw_* pg_get_loaded_modules""",
    ),
    "large_objects": Refused("large objects lie outside of tables and their grants", "lo_* loread lowrite"),
    "sleep": Refused("it holds a connection that others wait for", "pg_sleep pg_sleep_for pg_sleep_until"),
    "advisory_locks": Refused(
        "advisory locks are the application's, and some outlive the request", "pg_advisory_* pg_try_advisory_*"
    ),
    "signals": Refused(
        "it stops or steers the server and other sessions",
        """pg_terminate_backend pg_cancel_backend pg_reload_conf pg_promote pg_log_backend_memory_contexts
        pg_log_standby_snapshot""",
    ),
    "notifications": Refused(
        "notifications reach other sessions", "pg_notify pg_listening_channels pg_notification_queue_usage"
    ),
    "sequences": Refused(
        "sequences are shared by all, and their state outlives the request",
        """nextval setval currval lastval pg_get_sequence_data pg_sequence_last_value pg_sequence_parameters
        pg_nextoid""",
    ),
    "transaction_ids": Refused(
        "transaction numbers and snapshots tell about others, and asking for one uses it up",
        """txid_* pg_current_xact_id pg_current_xact_id_if_assigned pg_current_snapshot pg_export_snapshot
        pg_snapshot_* pg_visible_in_snapshot pg_xact_* pg_last_committed_xact pg_get_multixact_members mxid_age
        pg_safe_snapshot_blocking_pids currtid2""",
    ),
    "activity": Refused(
        "it tells about other sessions, the machine or the server's work",
        """pg_stat_* pg_statistics_obj_is_visible pg_lock_status pg_blocking_pids pg_backend_pid
        pg_isolation_test_session_is_blocked pg_prepared_statement pg_prepared_xact pg_cursor inet_client_addr
        inet_client_port inet_server_addr inet_server_port pg_conf_load_time pg_postmaster_start_time current_query
        pg_get_backend_memory_contexts pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wait_events
        pg_get_aios pg_numa_available pg_jit_available pg_trigger_depth pgstat*""",
    ),
    "sizes": Refused(
        "sizes tell about rows that the caller may not see",
        """pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
        pg_column_compression pg_column_size pg_column_toast_chunk_id pg_mcv_list_items""",
    ),
    "definitions": Refused(
        "definitions hold conditions of other keys and insides of the application",
        """pg_get_viewdef pg_get_ruledef pg_get_functiondef pg_get_function_sqlbody pg_get_triggerdef
        pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_acl""",
    ),
    "roles": Refused(
        "roles and rights are the owner's",
        """acldefault aclexplode makeaclitem pg_has_role getpgusername to_regrole has_foreign_data_wrapper_privilege
        has_language_privilege has_largeobject_privilege has_parameter_privilege has_server_privilege
        has_tablespace_privilege""",
    ),
    "xml": Refused(
        "XML is not supported: its parser expands what it is given",
        """xml xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document xmlagg xmlcomment xmlexists
        xmltext xmlvalidate xpath xpath_exists xmlconcat2""",
    ),
    "administration": Refused(
        "running the server is the operator's",
        """binary_upgrade_* pg_logical_* pg_replication_* pg_show_replication_origin_status pg_backup_* pg_switch_wal
        pg_create_* pg_copy_* pg_drop_* pg_sync_replication_slots pg_current_wal_* pg_last_wal_* pg_last_xact_*
        pg_is_wal_replay_paused pg_wal_* pg_walfile_* pg_split_walfile_name pg_available_wal_summaries pg_control_*
        pg_get_wal_* pg_get_replication_slots pg_get_publication_tables pg_relation_is_publishable
        pg_available_extension* pg_extension_* pg_clear_* pg_restore_* pg_start_backup pg_stop_backup
        pg_stop_making_pinned_objects brin_desummarize_range brin_summarize_new_values brin_summarize_range
        gin_clean_pending_list pg_indexam_progress_phasename pg_event_trigger_*
        postgresql_fdw_validator amvalidate pg_collation_actual_version pg_database_collation_actual_version""",
    ),
    "insides": Refused(
        "it serves PostgreSQL's own insides; operators and casts do the same",
        """cash_words dexp dlog1 dlog10 dround dtrunc enum_send float8_* getdatabaseencoding icu_unicode_version int4inc
        int8_sum nameconcatoid numeric_div_trunc numeric_exp numeric_inc numeric_ln numeric_log numeric_sqrt
        oidvectortypes satisfies_hash_partition xid xid8 pg_conversion_is_visible pg_describe_object
        pg_encoding_max_length pg_get_catalog_foreign_keys pg_get_object_address pg_identify_object
        pg_identify_object_as_address pg_timezone_* pg_ts_config_is_visible pg_ts_dict_is_visible
        pg_ts_parser_is_visible pg_ts_template_is_visible shobj_description to_regcollation to_regoper to_regoperator
        ts_debug ts_lexize ts_parse ts_token_type unicode_version""",
    ),
}

# current_setting, and SHOW, tell these; any other setting may hold what isn't the caller's.
READABLE_SETTINGS: Final = frozenset(
    """
    application_name bytea_output client_encoding datestyle default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only extra_float_digits idle_in_transaction_session_timeout
    integer_datetimes intervalstyle is_superuser lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time
    lock_timeout max_identifier_length max_index_keys search_path server_encoding server_version server_version_num
    session_authorization standard_conforming_strings statement_timeout timezone transaction_deferrable
    transaction_isolation transaction_read_only work_mem
    """.split()
)
CURRENT_SETTING: Final = "current_setting"

CALLABLE: Final = frozenset(name for names in ALLOWED.values() for name in names.split())
UNLISTED: Final = "function"
UNLISTED_REASON: Final = "it is neither one of PostgreSQL's that may be called nor granted to this key"


def _by_name() -> dict[str, str]:
    return {name: rule for rule, group in REFUSED.items() for name in group.names.split() if "*" not in name}


def _patterns() -> re.Pattern[str]:
    """One expression for all the names with `*`; the number of the matching group leads to its rule."""
    return re.compile("|".join(f"({fnmatch.translate(name)})" for name, _ in _ENDINGS))


NAMES_REMEMBERED: Final = 4096
_NAMES: Final = _by_name()
_ENDINGS: Final = tuple((name, rule) for rule, group in REFUSED.items() for name in group.names.split() if "*" in name)
_PATTERNS: Final = _patterns()


@functools.lru_cache(maxsize=NAMES_REMEMBERED)
def refusal_of(name: str) -> tuple[str, str] | None:
    """The rule and the reason why nobody may call a function of this name; None for one that isn't on that list."""
    if name in CALLABLE:
        return None
    rule = _NAMES.get(name)
    if rule is None:
        match = _PATTERNS.match(name)
        if match is None or match.lastindex is None:
            return None
        rule = _ENDINGS[match.lastindex - 1][1]

    return rule, REFUSED[rule].reason
