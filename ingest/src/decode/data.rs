//! The `data` of an event: its columns by name, and attributes for the rest.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::rules;
use crate::{
    OrganizationId, Rejection, RejectionCode, Table, control,
    erasure::Lookup,
    identity::Pseudonyms,
    mapping::Cell,
    money, names,
    schema::{self, Column, ColumnType},
    time,
};

/// One value, typed as its column asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Count(i64),
    Flag(bool),
    Money(i128),
    Time(time::Micros),
}

impl Value<'_> {
    /// As JSON, in the form that a sender uses.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => (**text).into(),
            Self::Count(count) => (*count).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Money(amount) => money::text(*amount, money::SCALE).into(),
            Self::Time(at) => time::to_rfc3339(*at).into(),
        }
    }
}

/// The columns of one event, in the order of [`Table::columns`], and its attributes as raw JSON scalars.
#[derive(Debug)]
pub(super) struct Values<'a> {
    table: Table,
    pub(super) columns: Vec<Option<Value<'a>>>,
    attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Members of `data` itself that are no columns.
    pub(super) others: Vec<Cow<'a, str>>,
    /// Whether the cached and cache-write tokens are in `input_tokens` already.
    pub(super) includes_cached: bool,
}

const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_BYTES_MAX: usize = 256;
/// The most that a quantity and an amount of one event may be: sums over many organizations must hold them all, and
/// no sender may make the answer of others fail.
const COUNT_MAX: i64 = 1_000_000_000_000;
const MONEY_MAX: i128 = 10_000_000_000_000 * 10_i128.pow(money::SCALE as u32);
/// Bytes of a text column.
const TEXT_BYTES_MAX: usize = 1024;

/// Reads `data`. `word` is the `kind` or `action` that the event's type named: the first column then.
pub(super) fn read<'a>(
    table: Table,
    word: Option<&'a str>,
    data: Option<&Data<'a>>,
) -> Result<Values<'a>, Rejection> {
    let mut values = Values::new(table, word);
    let Some(data) = data else { return Ok(values) };
    let named = usize::from(word.is_some());
    let mut near = 0;
    for (key, raw) in data.members("/data")? {
        if raw.get() == "null" {
            continue;
        }
        let place = table.place(key, near).filter(|place| *place >= named);
        if let Some(place) = place {
            values.columns[place] = Some(value(&table.columns()[place], raw.get())?);
            near = place + 1;
        } else if key == names::INCLUDES_CACHED && table == Table::UsageLedger {
            values.includes_cached = raw.get().parse().map_err(|_| {
                let pointer = format!("/data/{key}");
                Rejection::new(RejectionCode::WrongType, pointer, "expected true or false")
            })?;
        } else if key == "attributes" {
            for (key, raw) in Data::parse(raw).members("/data/attributes")? {
                values.attribute(key.clone(), raw.get().into(), "/data/attributes")?;
            }
        } else {
            values.attribute(key.clone(), raw.get().into(), "/data")?;
            values.others.push(key.clone());
        }
    }
    Ok(values)
}

impl<'a> Values<'a> {
    /// No values yet but the one that the event's type tells.
    pub(super) fn new(table: Table, word: Option<&'a str>) -> Self {
        let mut columns = vec![None; table.columns().len()];
        if let Some(word) = word {
            columns[0] = Some(Value::Text(Cow::Borrowed(word)));
        }
        Self {
            table,
            columns,
            attributes: BTreeMap::new(),
            others: Vec::new(),
            includes_cached: true,
        }
    }

    /// What a stored row holds. Its persons are pseudonyms already.
    pub(super) fn stored(
        table: Table,
        columns: Vec<Option<Value<'a>>>,
        attributes: Option<&'a RawValue>,
    ) -> Result<Self, Rejection> {
        let mut values = Self { columns, ..Self::new(table, None) };
        if let Some(attributes) = attributes {
            for (key, raw) in Data::parse(attributes).members("/attributes")? {
                values.attributes.insert(key.clone(), raw.get().into());
            }
        }
        Ok(values)
    }

    /// Takes over what `changes`, an object as an event's data, names; `null` clears a column or an attribute.
    pub(super) fn amend(
        &mut self,
        changes: &'a RawValue,
        organization: Option<&OrganizationId>,
        pseudonyms: &Pseudonyms,
    ) -> Result<(), Rejection> {
        let data = Data::parse(changes);
        let mut named = read(self.table, None, Some(&data))?;
        if !named.includes_cached {
            let reason = "a correction states `input_tokens` with all that is cached";
            let pointer = format!("/data/{}", names::INCLUDES_CACHED);
            return Err(Rejection::new(RejectionCode::InvalidValue, pointer, reason));
        }
        named.pseudonymize(self.table, organization, pseudonyms);
        for (column, change) in self.columns.iter_mut().zip(named.columns) {
            if change.is_some() {
                *column = change;
            }
        }
        for (key, raw) in data.members("/data")? {
            if key == "attributes" && raw.get() != "null" {
                for (key, raw) in Data::parse(raw).members("/data/attributes")? {
                    self.clear_if_null(key, raw, false);
                }
            } else {
                self.clear_if_null(key, raw, true);
            }
        }
        self.attributes.extend(named.attributes);
        if self.attributes.len() > ATTRIBUTES_MAX {
            let reason = format!("more than {ATTRIBUTES_MAX} attributes");
            return Err(Rejection::new(RejectionCode::InvalidAttributes, "/data", reason));
        }
        Ok(())
    }

    fn clear_if_null(&mut self, key: &str, raw: &RawValue, may_be_column: bool) {
        if raw.get() != "null" {
            return;
        }
        match self.table.place(key, 0).filter(|_| may_be_column) {
            Some(at) => self.columns[at] = None,
            None if may_be_column && key == "attributes" => self.attributes.clear(),
            None => {
                self.attributes.remove(key);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.at(self.table.place(name, 0))
    }

    pub(super) fn at(&self, place: Option<usize>) -> Option<&Value<'a>> {
        self.columns[place?].as_ref()
    }

    /// Adds up the input tokens where they were told without those that are cached.
    pub(super) fn add_cached(&mut self) -> Result<(), Rejection> {
        if self.includes_cached {
            return Ok(());
        }
        let place = |name| self.table.place(name, 0);
        let count = |name| match self.get(name) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        };
        let parts = rules::INPUT.map(count);
        if parts.iter().any(Option::is_some)
            && let Some(place) = place(rules::INPUT[0])
        {
            // Each is at most 10^12.
            let sum = parts.into_iter().flatten().sum();
            self.columns[place] = Some(self.table.columns()[place].count(Some(sum))?);
        }
        self.includes_cached = true;
        Ok(())
    }

    /// Puts pseudonyms in the place of persons, before anything is hashed or stored.
    pub(super) fn pseudonymize(
        &mut self,
        table: Table,
        organization: Option<&OrganizationId>,
        pseudonyms: &Pseudonyms,
    ) {
        let organization = organization.map(OrganizationId::as_str).unwrap_or_default();
        for (column, value) in table.columns().iter().zip(&mut self.columns) {
            if let Some(Value::Text(id)) = value {
                match column.name {
                    schema::USER_ID => *id = Cow::Owned(pseudonyms.user(organization, id)),
                    schema::ANONYMOUS_ID => *id = Cow::Owned(pseudonyms.visitor(id)),
                    _ => {}
                }
            }
        }
    }

    /// Leaves out what the event says of an erased person, before it is hashed or stored. Persons are pseudonyms
    /// by now.
    pub(super) fn forget_erased(&mut self, occurred_at: time::Micros, erased: &Lookup<'_>) {
        if erased.is_empty() {
            return;
        }
        let is_erased = |column: &Column, value: &Option<Value<'_>>| match value {
            Some(Value::Text(id)) if column.is_person() => erased.is_erased(id, occurred_at),
            _ => false,
        };
        let columns = self.table.columns();
        if columns.iter().zip(&self.columns).any(|(column, value)| is_erased(column, value)) {
            let personal = columns.iter().zip(&mut self.columns).filter(|(c, _)| c.is_personal);
            personal.for_each(|(_, value)| *value = None);
            self.attributes.clear();
        }
    }

    /// The attributes as one JSON object with sorted keys; `None` when there are none.
    pub(super) fn attributes_json(&self) -> Option<String> {
        if self.attributes.is_empty() {
            return None;
        }
        let mut json = String::from("{");
        for (key, value) in &self.attributes {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(&**key).to_string());
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        Some(json)
    }

    /// Adds an attribute, a JSON scalar.
    pub(super) fn attribute(
        &mut self,
        key: Cow<'a, str>,
        raw: Cow<'a, str>,
        parent: &str,
    ) -> Result<(), Rejection> {
        let refuse = |reason: String| {
            let pointer = super::pointer(parent, &key);
            Err(Rejection::new(RejectionCode::InvalidAttributes, pointer, reason))
        };
        if raw.starts_with(['{', '[']) {
            return refuse("an attribute is a text, a number or a truth value".into());
        }
        // It is stored as it stands, so it must be readable: half of a surrogate pair is not.
        if raw.starts_with('"') {
            match text(&raw) {
                None => return refuse("not a text".into()),
                Some(text) if control::in_text(&text) => {
                    let reason = "holds another control character than tabs and line ends";
                    return refuse(reason.into());
                }
                Some(_) => {}
            }
        }
        // Readers of JSON take numbers as doubles: one that is none makes all members unreadable to them.
        if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && !raw.parse::<f64>().is_ok_and(f64::is_finite)
        {
            return refuse("a number beyond the range of a double".into());
        }
        if control::in_name(&key) {
            return refuse("its name holds a control character".into());
        }
        if raw.len().max(key.len()) > ATTRIBUTE_BYTES_MAX {
            return refuse(format!("longer than {ATTRIBUTE_BYTES_MAX} bytes"));
        }
        if raw == "null" {
            return Ok(());
        }
        if self.attributes.len() >= ATTRIBUTES_MAX && !self.attributes.contains_key(&key) {
            return refuse(format!("more than {ATTRIBUTES_MAX} attributes"));
        }
        self.attributes.insert(key, raw);
        Ok(())
    }
}

/// What a column accepts, whatever form the value came in.
impl Column {
    fn pointer(&self) -> String {
        format!("/data/{}", self.name)
    }

    fn wrong(&self) -> Rejection {
        let expected = match self.kind {
            ColumnType::Text => "text",
            ColumnType::Count => "a whole number below 2^63",
            ColumnType::Flag => "true or false",
            ColumnType::Money => "a decimal with at most 12 digits after the point",
            ColumnType::Time => "an RFC 3339 time",
        };
        Rejection::new(RejectionCode::WrongType, self.pointer(), format!("expected {expected}"))
    }

    fn invalid(&self, reason: &str) -> Rejection {
        Rejection::new(RejectionCode::InvalidValue, self.pointer(), reason)
    }

    fn text<'a>(&self, text: Option<Cow<'a, str>>) -> Result<Value<'a>, Rejection> {
        match text {
            Some(text) if text.len() > TEXT_BYTES_MAX => {
                Err(self.invalid("longer than 1024 bytes"))
            }
            Some(text) if self.is_prose() && control::in_text(&text) => {
                Err(self.invalid("holds another control character than tabs and line ends"))
            }
            Some(text) if !self.is_prose() && control::in_name(&text) => {
                Err(self.invalid("holds a control character"))
            }
            Some(text) => Ok(Value::Text(text)),
            None => Err(self.wrong()),
        }
    }

    fn count<'a>(&self, count: Option<i64>) -> Result<Value<'a>, Rejection> {
        match count {
            Some(0..=COUNT_MAX) => Ok(Value::Count(count.unwrap_or_default())),
            Some(..0) => Err(self.invalid("must not be negative")),
            Some(_) => Err(self.invalid("is more than 10^12")),
            None => Err(self.wrong()),
        }
    }

    /// What is taken back is reversed by a correction, not by an amount below zero.
    fn money<'a>(&self, amount: Option<i128>) -> Result<Value<'a>, Rejection> {
        let least = if self.is_signed { -MONEY_MAX } else { 0 };
        match amount {
            Some(amount) if (least..=MONEY_MAX).contains(&amount) => Ok(Value::Money(amount)),
            Some(..0) if !self.is_signed => Err(self.invalid("must not be negative")),
            Some(_) => Err(self.invalid("is more than 10^13")),
            None => Err(self.wrong()),
        }
    }

    fn time<'a>(&self, text: Option<&str>) -> Result<Value<'a>, Rejection> {
        let text = text.ok_or_else(|| self.wrong())?;
        time::parse_rfc3339(text)
            .map(Value::Time)
            .ok_or_else(|| self.invalid("not an RFC 3339 time with a zone"))
    }
}

/// A JSON value as its column asks.
fn value<'a>(column: &Column, json: &'a str) -> Result<Value<'a>, Rejection> {
    match column.kind {
        ColumnType::Text => column.text(text(json)),
        ColumnType::Count => column.count(money::whole(json)),
        ColumnType::Flag => json.parse().map(Value::Flag).map_err(|_| column.wrong()),
        ColumnType::Money => {
            let number = text(json).unwrap_or(Cow::Borrowed(json));
            column.money(money::parse(&number))
        }
        ColumnType::Time => column.time(text(json).as_deref()),
    }
}

/// A cell of a file as its column asks. Files are less exact about types than senders: the text `5` is a count.
pub(super) fn cell_value<'a>(column: &Column, cell: Cell<'a>) -> Result<Value<'a>, Rejection> {
    match (column.kind, cell) {
        (_, Cell::Unfit(_)) => Err(column.wrong()),
        (ColumnType::Text, Cell::Text(text)) => column.text(Some(text)),
        (ColumnType::Text, cell) => {
            column.text(cell.text().map(|text| Cow::Owned(text.into_owned())))
        }
        (ColumnType::Count, cell) => column.count(cell.count()),
        (ColumnType::Flag, cell) => cell.flag().map(Value::Flag).ok_or_else(|| column.wrong()),
        (ColumnType::Money, cell) => column.money(cell.money()),
        (ColumnType::Time, Cell::Time(at) | Cell::Clock(at)) => time::in_range(at)
            .map(Value::Time)
            .ok_or_else(|| column.invalid("not a time between 1970 and 2261")),
        (ColumnType::Time, Cell::Text(text)) => column.time(Some(text.trim())),
        (ColumnType::Time, _) => Err(column.wrong()),
    }
}

/// The text of a JSON string, borrowed unless it holds an escape; `None` for anything else.
pub(crate) fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A JSON value that should be an object: its members, their values unparsed.
#[derive(Debug)]
pub(super) enum Data<'a> {
    Members(Vec<(Cow<'a, str>, &'a RawValue)>),
    Other,
}

impl<'a> Data<'a> {
    fn parse(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or(Self::Other)
    }

    fn members(&self, pointer: &str) -> Result<&[(Cow<'a, str>, &'a RawValue)], Rejection> {
        match self {
            Self::Members(members) => Ok(members),
            Self::Other => {
                Err(Rejection::new(RejectionCode::WrongType, pointer, "expected an object"))
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut readable) = (Vec::with_capacity(32), true);
                while let Some(key) = map.next_key::<&'de RawValue>()? {
                    let value = map.next_value::<&'de RawValue>()?;
                    // Half of a surrogate pair is not.
                    match text(key.get()) {
                        Some(key) => members.push((key, value)),
                        None => readable = false,
                    }
                }
                Ok(if readable { Data::Members(members) } else { Data::Other })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Data::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
