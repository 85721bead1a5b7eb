"""The parts of PostgreSQL's grammar that a judged statement may be made of.

A statement is read as PostgreSQL's own raw parse tree (libpg_query's JSON). What isn't written here is refused: a new
node, or a new field of a known one, has to be looked at before it passes.
"""

from typing import Final

# One line a node: its fields. A plain name is a value (text, number, flag); `name*` holds nodes, or lists of them, each
# with its kind in front; `name:Kind` holds the fields of that kind without its name. Locations are always allowed.
_FIELDS: Final = """
SelectStmt      distinctClause* targetList* fromClause* whereClause* groupClause* groupDistinct havingClause*
SelectStmt      windowClause* valuesLists* sortClause* limitOffset* limitCount* limitOption lockingClause*
SelectStmt      withClause:WithClause op all larg:SelectStmt rarg:SelectStmt intoClause:IntoClause
InsertStmt      relation:Target cols* selectStmt* onConflictClause:OnConflictClause
InsertStmt      returningClause:ReturningClause withClause:WithClause override
UpdateStmt      relation:Target targetList* whereClause* fromClause* returningClause:ReturningClause
UpdateStmt      withClause:WithClause
DeleteStmt      relation:Target usingClause* whereClause* returningClause:ReturningClause withClause:WithClause
MergeStmt       relation:Target sourceRelation* joinCondition* mergeWhenClauses*
MergeStmt       returningClause:ReturningClause withClause:WithClause
MergeWhenClause matchKind commandType override condition* targetList* values*
OnConflictClause action infer:InferClause targetList* whereClause*
InferClause     indexElems* whereClause* conname
IndexElem       name expr* collation* opclass* ordering nulls_ordering
ReturningClause options* exprs*
ReturningOption option value
WithClause      ctes* recursive
CommonTableExpr ctename aliascolnames* ctematerialized ctequery* search_clause:CTESearchClause
CommonTableExpr cycle_clause:CTECycleClause
CTESearchClause search_col_list* search_breadth_first search_seq_column
CTECycleClause  cycle_col_list* cycle_mark_column cycle_mark_value* cycle_mark_default* cycle_path_column
LockingClause   lockedRels strength waitPolicy
Target          catalogname schemaname relname inh relpersistence alias:Alias
RangeVar        catalogname schemaname relname inh relpersistence alias:Alias
RangeSubselect  lateral subquery* alias:Alias
RangeFunction   lateral ordinality is_rowsfrom functions* alias:Alias coldeflist*
RangeTableSample relation* method args* repeatable*
JoinExpr        jointype isNatural larg* rarg* usingClause* join_using_alias:Alias quals* alias:Alias
Alias           aliasname colnames*
ColumnDef       colname typeName:TypeName is_local collClause:CollateClause
ResTarget       name indirection* val*
MultiAssignRef  source* colno ncolumns
SortBy          node* sortby_dir sortby_nulls useOp*
WindowDef       name refname partitionClause* orderClause* frameOptions startOffset* endOffset*
GroupingSet     kind content*
GroupingFunc    args*
A_Const         isnull ival:Integer fval:Float boolval:Boolean sval:String bsval:BitString
String          sval
Integer         ival
Float           fval
Boolean         boolval
BitString       bsval
List            items*
A_Star
ParamRef        number
ColumnRef       fields*
A_Expr          kind name* lexpr* rexpr* rexpr_list_start rexpr_list_end
BoolExpr        boolop args*
FuncCall        funcname* args* agg_order* agg_filter* over:WindowDef agg_within_group agg_star agg_distinct
FuncCall        func_variadic funcformat
NamedArgExpr    arg* name argnumber
A_Indirection   arg* indirection*
A_Indices       is_slice lidx* uidx*
A_ArrayExpr     elements* list_start list_end
RowExpr         args* row_format colnames*
TypeCast        arg* typeName:TypeName
TypeName        names* setof pct_type typmods* typemod arrayBounds*
CollateClause   arg* collname*
SubLink         subLinkType testexpr* operName* subselect*
CaseExpr        arg* args* defresult*
CaseWhen        expr* result*
CoalesceExpr    args*
MinMaxExpr      op args*
NullTest        arg* nulltesttype argisrow
BooleanTest     arg* booltesttype
SQLValueFunction op typmod
SetToDefault    typeMod
MergeSupportFunc msftype
JsonObjectConstructor exprs* output:JsonOutput absent_on_null unique
JsonArrayConstructor exprs* output:JsonOutput absent_on_null
JsonArrayQueryConstructor query* output:JsonOutput format:JsonFormat absent_on_null
JsonAggConstructor output:JsonOutput agg_filter* agg_order* over:WindowDef
JsonObjectAgg   constructor:JsonAggConstructor arg:JsonKeyValue absent_on_null unique
JsonArrayAgg    constructor:JsonAggConstructor arg:JsonValueExpr absent_on_null
JsonKeyValue    key* value:JsonValueExpr
JsonOutput      typeName:TypeName returning:JsonReturning
JsonReturning   format:JsonFormat typmod
JsonFormat      format_type encoding
JsonValueExpr   raw_expr* format:JsonFormat
JsonParseExpr   expr:JsonValueExpr output:JsonOutput unique_keys
JsonScalarExpr  expr* output:JsonOutput
JsonSerializeExpr expr:JsonValueExpr output:JsonOutput
JsonFuncExpr    op column_name context_item:JsonValueExpr pathspec* passing* output:JsonOutput
JsonFuncExpr    on_empty:JsonBehavior on_error:JsonBehavior wrapper quotes
JsonBehavior    btype expr* coerce
JsonIsPredicate expr* format:JsonFormat item_type unique_keys
JsonArgument    val:JsonValueExpr name
JsonTable       context_item:JsonValueExpr pathspec:JsonTablePathSpec passing* columns* on_error:JsonBehavior
JsonTable       alias:Alias lateral
JsonTableColumn coltype name typeName:TypeName pathspec:JsonTablePathSpec format:JsonFormat wrapper quotes columns*
JsonTableColumn on_empty:JsonBehavior on_error:JsonBehavior
JsonTablePathSpec string* name
"""

LOCATIONS: Final = ("location", "name_location", "arg_location")
VALUE: Final = ""
NODES: Final = "*"


def _read(text: str) -> dict[str, dict[str, str]]:
    """What stands in each field of each kind: VALUE, NODES, or the kind whose fields stand there."""
    kinds: dict[str, dict[str, str]] = {}
    for line in text.strip().splitlines():
        kind, *names = line.split()
        fields = kinds.setdefault(kind, dict.fromkeys(LOCATIONS, VALUE))
        for name in names:
            plain, _, inner = name.partition(":")
            fields[plain.removesuffix("*")] = NODES if name.endswith("*") else inner

    return kinds


KINDS: Final = _read(_FIELDS)

# What changes rows, wherever in a statement it stands.
CHANGES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
QUERIES: Final = CHANGES | {"SelectStmt"}

# Every other statement of PostgreSQL by the word of the rule that refuses it. What is missing here (a statement of a
# later PostgreSQL) is refused as `statement`.
REFUSED_STATEMENTS: Final = {
    "VariableSetStmt": ("set", "what SET and RESET do outlives the request"),
    "TransactionStmt": ("transaction", "a request is one transaction; use a batch, or a WebSocket session"),
    "ConstraintsSetStmt": ("set", "deferred constraints outlive the statement"),
    "DiscardStmt": ("set", "the session is the proxy's to clean"),
    "AlterSystemStmt": ("set", "the server's settings are the operator's"),
    "DoStmt": ("do", "it runs code that can't be judged"),
    "CopyStmt": ("copy", "it reads and writes files and programs of the server"),
    "CallStmt": ("call", "procedures may end the transaction"),
    "PrepareStmt": ("prepare", "it outlives the request; parameters do the same"),
    "ExecuteStmt": ("prepare", "it runs what another request may have prepared"),
    "DeallocateStmt": ("prepare", "a request leaves no prepared statement behind"),
    "ListenStmt": ("listen", "listening outlives the request"),
    "UnlistenStmt": ("listen", "listening outlives the request"),
    "NotifyStmt": ("listen", "notifications reach other sessions"),
    "DeclareCursorStmt": ("cursor", "cursors outlive the statement; results stream by themselves"),
    "FetchStmt": ("cursor", "cursors outlive the statement; results stream by themselves"),
    "ClosePortalStmt": ("cursor", "cursors outlive the statement; results stream by themselves"),
    "LockStmt": ("lock", "it holds whole tables"),
    "LoadStmt": ("load", "it runs a library inside the server"),
    "VacuumStmt": ("maintenance", "maintenance is the owner's"),
    "ClusterStmt": ("maintenance", "maintenance is the owner's"),
    "ReindexStmt": ("maintenance", "maintenance is the owner's"),
    "CheckPointStmt": ("maintenance", "maintenance is the owner's"),
    "RefreshMatViewStmt": ("maintenance", "maintenance is the owner's"),
    "GrantStmt": ("roles", "roles and their grants are the owner's"),
    "GrantRoleStmt": ("roles", "roles and their grants are the owner's"),
    "CreateRoleStmt": ("roles", "roles and their grants are the owner's"),
    "AlterRoleStmt": ("roles", "roles and their grants are the owner's"),
    "AlterRoleSetStmt": ("roles", "roles and their grants are the owner's"),
    "DropRoleStmt": ("roles", "roles and their grants are the owner's"),
    "ReassignOwnedStmt": ("roles", "roles and their grants are the owner's"),
    "DropOwnedStmt": ("roles", "roles and their grants are the owner's"),
    "AlterDefaultPrivilegesStmt": ("roles", "roles and their grants are the owner's"),
    "TruncateStmt": ("truncate", "it empties a table past its row-level security; deleting rows doesn't"),
}
# Statements that define or change what the database is made of.
DEFINITIONS: Final = ("Create", "Alter", "Drop", "Define", "Rename", "Comment", "Index", "View", "Rule", "SecLabel")
DEFINITION_REASON: Final = "the schema changes by migrations only"


def refusal_of(statement: str) -> tuple[str, str]:
    """The rule and the reason that refuse a kind of statement which isn't in KINDS."""
    if statement in REFUSED_STATEMENTS:
        return REFUSED_STATEMENTS[statement]
    if statement.startswith(DEFINITIONS) or statement in ("CompositeTypeStmt", "ImportForeignSchemaStmt"):
        return ("ddl", DEFINITION_REASON)

    return ("statement", "this statement is not one that the policy knows")
