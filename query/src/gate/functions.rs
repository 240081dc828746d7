//! The functions of strangers' statements: a closed list. The engine has more: some tell of the machine, some give
//! another answer each time, some take time or memory without measure.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use datafusion::{
    execution::SessionStateDefaults,
    logical_expr::{AggregateUDF, Documentation, ScalarUDF, WindowUDF},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::functions as own;

/// A function as people read about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Function {
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
    pub class: &'static str,
    pub aliases: Vec<String>,
    pub syntax: String,
    pub description: String,
    pub example: Option<String>,
    /// The most that an argument may be.
    pub limit: Option<&'static str>,
}

const OFFERED: &str = "
abs acos acosh ascii asin asinh atan atan2 atanh cbrt ceil cos cosh cot degrees exp factorial floor gcd isnan iszero
lcm ln log log10 log2 nanvl pi pow power radians round signum sin sinh sqrt tan tanh trunc
arrow_cast arrow_try_cast arrow_typeof coalesce get_field greatest ifnull least named_struct nullif nvl nvl2 row
struct
bit_length btrim char_length character_length chr concat concat_ws contains ends_with find_in_set initcap instr left
length lower lpad ltrim octet_length overlay position repeat replace reverse right rpad rtrim split_part starts_with
strpos substr substr_index substring substring_index to_hex translate trim upper
decode encode
json_get_boolean json_get_number json_get_text
current_date current_time current_timestamp date_bin date_format date_part date_trunc datepart datetrunc
from_unixtime make_date make_time now to_char to_date to_local_time to_time to_timestamp to_timestamp_micros
to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime today
regexp_count regexp_instr regexp_like regexp_match regexp_replace
array_any_value array_append array_cat array_concat array_contains array_dims array_distance array_distinct
array_element array_empty array_except array_extract array_has array_has_all array_has_any array_indexof
array_intersect array_join array_length array_max array_min array_ndims array_pop_back array_pop_front
array_position array_positions array_prepend array_push_back array_push_front array_remove array_remove_all
array_remove_n array_repeat array_replace array_replace_all array_replace_n array_resize array_reverse array_slice
array_avg array_sort array_sum array_to_string array_union arrays_overlap arrays_zip cardinality element_at empty flatten
generate_series make_array make_list map map_entries map_extract map_keys map_values range string_to_array
string_to_list
list_any_value list_append list_avg list_cat list_concat list_contains list_dims list_distance list_distinct list_element
list_empty list_except list_extract list_has list_has_all list_has_any list_indexof list_intersect list_join
list_length list_max list_ndims list_pop_back list_pop_front list_position list_positions list_prepend
list_push_back list_push_front list_remove list_remove_all list_remove_n list_repeat list_replace
list_replace_all list_replace_n list_resize list_reverse list_slice list_sort list_sum list_to_string list_union list_zip
any_value approx_distinct approx_median approx_percentile approx_percentile_cont approx_percentile_cont_with_weight array_agg avg
bit_and bit_or bit_xor bool_and bool_or corr count covar covar_pop covar_samp first_value grouping last_value max
mean median min nth_value percentile_cont quantile_cont regr_avgx regr_avgy regr_count regr_intercept regr_r2
regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum var var_pop var_population
var_samp var_sample
cume_dist dense_rank lag lead ntile percent_rank rank row_number
";

static NAMES: LazyLock<BTreeSet<&str>> = LazyLock::new(|| OFFERED.split_whitespace().collect());

pub(crate) fn is_offered(name: &str) -> bool {
    NAMES.contains(name)
}

/// The functions of a session.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) scalar: Vec<Arc<ScalarUDF>>,
    pub(crate) aggregate: Vec<Arc<AggregateUDF>>,
    pub(crate) window: Vec<Arc<WindowUDF>>,
}

/// Every function that is offered, ours in place of the engine's.
pub(crate) fn offered() -> &'static Offered {
    static OFFERED: LazyLock<Offered> = LazyLock::new(|| {
        let mut scalar = SessionStateDefaults::default_scalar_functions();
        scalar.extend(own::scalar().into_iter().map(Arc::new));
        scalar.retain(|function| is_offered(function.name()));
        let mut aggregate = SessionStateDefaults::default_aggregate_functions();
        let ours = own::aggregate();
        aggregate.retain(|f| is_offered(f.name()) && ours.iter().all(|own| own.name() != f.name()));
        aggregate.extend(ours.map(Arc::new));
        let mut window = SessionStateDefaults::default_window_functions();
        window.retain(|function| is_offered(function.name()));
        Offered { scalar, aggregate, window }
    });
    &OFFERED
}

/// Whether the engine has a function of this name that is not offered.
pub(crate) fn is_withheld(name: &str) -> bool {
    static WITHHELD: LazyLock<BTreeSet<String>> =
        LazyLock::new(|| engine_names().filter(|name| !is_offered(name)).collect());
    WITHHELD.contains(name)
}

/// The names of the engine's functions.
fn engine_names() -> impl Iterator<Item = String> {
    fn names(name: &str, aliases: &[String]) -> Vec<String> {
        [&[name.to_owned()], aliases].concat()
    }
    let scalar = SessionStateDefaults::default_scalar_functions().into_iter();
    let higher = SessionStateDefaults::default_higher_order_functions().into_iter();
    let aggregate = SessionStateDefaults::default_aggregate_functions().into_iter();
    let window = SessionStateDefaults::default_window_functions().into_iter();
    let table = SessionStateDefaults::default_table_functions().into_iter();
    scalar
        .flat_map(|f| names(f.name(), f.aliases()))
        .chain(higher.flat_map(|f| names(f.name(), f.aliases())))
        .chain(aggregate.flat_map(|f| names(f.name(), f.aliases())))
        .chain(window.flat_map(|f| names(f.name(), f.aliases())))
        .chain(table.map(|f| f.name().to_owned()))
}

fn limit(name: &str) -> Option<&'static str> {
    Some(match name {
        "repeat" | "lpad" | "rpad" => "a length of 10,000",
        "array_repeat" | "array_resize" => "100,000 elements",
        "range" | "generate_series" => "1,000,000 elements; the bounds are numbers or dates",
        "approx_percentile" | "approx_percentile_cont" | "approx_percentile_cont_with_weight" => {
            "1,000 centroids"
        }
        _ if name.starts_with("regexp_") => {
            "a pattern in quotes of 256 bytes, and 100,000 steps with its repetitions written out"
        }
        _ => return None,
    })
}

/// Every function that is offered, by name.
pub fn functions() -> Vec<Function> {
    let describe =
        |class, name: &str, aliases: &[String], about: Option<&Documentation>| Function {
            name: name.to_owned(),
            class,
            aliases: aliases.to_vec(),
            syntax: about
                .map_or_else(|| format!("{name}(…)"), |about| about.syntax_example.clone()),
            description: about.map_or_else(String::new, |about| about.description.clone()),
            example: about.and_then(|about| about.sql_example.clone()),
            limit: limit(name),
        };
    let Offered { scalar, aggregate, window } = offered();
    let scalar =
        scalar.iter().map(|f| describe("scalar", f.name(), f.aliases(), f.documentation()));
    let aggregate =
        aggregate.iter().map(|f| describe("aggregate", f.name(), f.aliases(), f.documentation()));
    let window =
        window.iter().map(|f| describe("window", f.name(), f.aliases(), f.documentation()));
    let mut all: Vec<_> = scalar.chain(aggregate).chain(window).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name && a.class == b.class);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the engine has and strangers do not get: it tells of the machine or of files, gives another answer each
    /// time, takes time by the square of its arguments, computes what no walk of the plan sees (lambdas), or is of no
    /// use to an analyst.
    const WITHHELD: &str = "
        file_row_index input_file_name version
        rand random uuid
        levenshtein
        any_match array_any_match array_filter array_first array_transform list_any_match list_filter list_first
        list_transform
        array_add array_compact array_normalize array_product array_scale array_subtract cosine_distance dot_product
        inner_product list_add list_compact list_normalize list_product list_scale list_subtract
        arrow_field arrow_metadata cast_to_type try_cast_to_type union_extract union_tag with_metadata
    ";

    #[test]
    fn every_function_of_the_engine_is_offered_or_withheld() {
        let mut known: BTreeSet<_> = engine_names().collect();
        let Offered { scalar, aggregate, .. } = offered();
        for (name, aliases) in scalar
            .iter()
            .map(|f| (f.name(), f.aliases()))
            .chain(aggregate.iter().map(|f| (f.name(), f.aliases())))
        {
            known.insert(name.to_owned());
            known.extend(aliases.iter().cloned());
            // All names of a function come with it.
            assert!(aliases.iter().all(|alias| is_offered(alias)), "{name}: {aliases:?}");
        }
        // A function that comes with another version of the engine is on neither list: somebody has to look at it.
        let withheld: BTreeSet<_> = WITHHELD.split_whitespace().collect();
        let known: BTreeSet<_> = known.iter().map(String::as_str).collect();
        assert!(withheld.is_disjoint(&NAMES));
        assert_eq!(withheld.union(&NAMES).copied().collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn functions_are_described() {
        let all = functions();
        assert!(all.len() > 150, "{}", all.len());
        let repeat = all.iter().find(|function| function.name == "repeat").unwrap();
        assert_eq!((repeat.class, repeat.limit), ("scalar", Some("a length of 10,000")));
        assert!(!repeat.description.is_empty() && repeat.syntax.contains("repeat("));
        let silent: Vec<_> = all.iter().filter(|f| f.description.is_empty()).collect();
        assert!(silent.is_empty(), "{silent:?}");
        assert!(all.iter().any(|f| f.class == "window" && f.name == "lag"));
    }
}
