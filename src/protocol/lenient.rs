//! Reading JSON that strangers wrote: what has the expected type is taken, what has another is
//! as good as absent, and only text that is not JSON is an error.
//!
//! serde's derived readers refuse a whole chunk for one `null`, one number where a text is
//! expected, or one repeated key. None of these keeps the answer from being read. Texts without
//! escapes are borrowed. A repeated key counts the last time, as in most JSON readers.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value that any JSON value can be read as. `null` and, unless a method says otherwise, every
/// type that is not expected become the default.
pub(super) trait Lenient<'de>: Default {
    /// Of an object, the keys whose values are read.
    const KEYS: &'static [&'static str] = &[];

    /// From a type that is not expected; not `null`.
    fn unexpected() -> Self {
        Self::default()
    }

    /// From `true` or `false`.
    fn boolean(_: bool) -> Self {
        Self::unexpected()
    }

    /// From an integer that is not negative.
    fn integer(_: u64) -> Self {
        Self::unexpected()
    }

    /// From a string.
    fn text(_: Cow<'de, str>) -> Self {
        Self::unexpected()
    }

    /// From an array.
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::unexpected())
    }

    /// From an object.
    fn object<A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::unexpected())
    }

    /// From the source itself, for types that need more than the value.
    fn take<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Read::<Self>::new())
    }
}

/// Reads a JSON text; an error where it is not JSON.
pub(super) fn read<'a, T: Lenient<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    let mut source = serde_json::Deserializer::from_str(text);
    let value = T::take(&mut source)?;
    source.end()?;
    Ok(value)
}

/// serde's side of [`Lenient`].
pub(super) struct Read<T>(PhantomData<T>);

impl<T> Read<T> {
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Lenient<'de>> DeserializeSeed<'de> for Read<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<T, D::Error> {
        T::take(source)
    }
}

impl<'de, T: Lenient<'de>> Visitor<'de> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::boolean(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::unexpected())
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::unexpected())
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::object(fields)
    }
}

/// A text; empty where there is none, which means the same on both protocols.
impl<'de> Lenient<'de> for Cow<'de, str> {
    fn text(value: Cow<'de, str>) -> Self {
        value
    }
}

impl<'de, T: Lenient<'de>> Lenient<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut list = Self::new();
        while let Some(item) = items.next_element_seed(Read::<T>::new())? {
            list.push(item);
        }
        Ok(list)
    }
}

/// `None` where there is no object or list.
impl<'de, T: Lenient<'de>> Lenient<'de> for Option<T> {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        T::list(items).map(Some)
    }

    fn object<A: MapAccess<'de>>(fields: A) -> Result<Self, A::Error> {
        T::object(fields).map(Some)
    }
}

/// An object, and `None` for anything else.
#[derive(Debug)]
pub(super) struct Object<T>(pub Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Lenient<'de>> Lenient<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(fields: A) -> Result<Self, A::Error> {
        T::object(fields).map(|value| Self(Some(value)))
    }
}

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    /// Absent or `null`.
    #[default]
    Missing,
    /// A count.
    Number(u64),
    /// Something else stands in its place.
    NotANumber,
}

impl Lenient<'_> for Count {
    fn unexpected() -> Self {
        Self::NotANumber
    }

    fn integer(value: u64) -> Self {
        Self::Number(value)
    }
}

/// Whether something stands here: not `null`, not `false`, not an empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present(pub bool);

impl<'de> Lenient<'de> for Present {
    fn unexpected() -> Self {
        Self(true)
    }

    fn boolean(value: bool) -> Self {
        Self(value)
    }

    fn text(value: Cow<'de, str>) -> Self {
        Self(!value.is_empty())
    }
}

/// JSON text: of a string its content, of anything else the text as it stands; empty for `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Json<'a>(pub Cow<'a, str>);

impl<'de> Lenient<'de> for Json<'de> {
    fn take<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(source)?.get();
        if raw == "null" {
            return Ok(Self::default());
        }
        if raw.starts_with('"') {
            return read(raw).map(Self).map_err(serde::de::Error::custom);
        }
        Ok(Self(Cow::Borrowed(raw)))
    }
}

/// Declares an object by the keys that matter: `"key" => field: Type`.
macro_rules! object {
    ($(#[$doc:meta])* $vis:vis $name:ident $(<$lifetime:lifetime>)? {
        $($key:literal => $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        $vis struct $name $(<$lifetime>)? { $($field: $type,)* }

        impl<'a> $crate::protocol::lenient::Lenient<'a> for $name $(<$lifetime>)? {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn object<A: serde::de::MapAccess<'a>>(mut fields: A) -> Result<Self, A::Error> {
                use $crate::protocol::lenient::Read;
                let mut this = Self::default();
                let key = Read::<std::borrow::Cow<'a, str>>::new;
                while let Some(key) = fields.next_key_seed(key())? {
                    match &*key {
                        $($key => this.$field = fields.next_value_seed(Read::new())?,)*
                        _ => { fields.next_value::<serde::de::IgnoredAny>()?; }
                    }
                }
                Ok(this)
            }
        }
    };
}
pub(super) use object;

/// Reads a JSON text as [`read`] does, and on failure once more with half surrogate pairs
/// replaced: writers whose strings are UTF-16 send `\ud83d` alone where a stream's tokens split a
/// character. `spare` keeps the repaired text. The flag says whether there was a repair.
pub(super) fn read_repaired<'a, T: Lenient<'a>>(
    text: &'a str,
    spare: &'a mut String,
) -> Option<(T, bool)> {
    if let Ok(value) = read(text) {
        return Some((value, false));
    }
    *spare = without_half_surrogates(text)?;
    read(spare).ok().map(|value| (value, true))
}

/// The text with every `\uXXXX` that is half a surrogate pair replaced by `\ufffd`; `None` if
/// there is none.
pub(super) fn without_half_surrogates(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &text.as_bytes()[at..]) {
        at += found;
        match unit(text, at) {
            Some(0xD800..=0xDBFF) if matches!(unit(text, at + 6), Some(0xDC00..=0xDFFF)) => {
                at += 12;
            }
            Some(0xD800..=0xDFFF) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // An escape is a backslash and at least one more character, which may be a backslash.
            _ => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// The code unit of the `\uXXXX` at this place.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}
