//! Subject templates: text with `{placeholders}` that stand for fields of the registry.

use std::fmt;

use crate::name::AttributeType;

/// The fields of the registry that a subject may name (conformance: E11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The holder's user id.
    UserId,
    /// The holder's given name.
    Given,
    /// The holder's family name.
    Family,
    /// The lending of a pool card.
    LendingId,
    /// The site's organisation.
    Organization,
    /// The name of a CA, a station or a service.
    CommonName,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 6] =
        [Self::UserId, Self::Given, Self::Family, Self::LendingId, Self::Organization, Self::CommonName];

    /// Its name in templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::Given => "given",
            Self::Family => "family",
            Self::LendingId => "lending_id",
            Self::Organization => "organization",
            Self::CommonName => "common_name",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Field(Field),
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

impl Template {
    /// Reads `literal {field} literal`. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, after) = rest.split_at(open);
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.to_owned()));
            }
            let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = inner.ok_or_else(|| format!("a brace has no partner in {text:?}"))?;
            let field = Field::ALL
                .into_iter()
                .find(|field| field.name() == name)
                .ok_or_else(|| format!("{{{name}}} is no field of the registry"))?;
            segments.push(Segment::Field(field));
            rest = after;
        }
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.to_owned()));
        }
        if segments.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(Template { segments })
    }

    /// The fields that it needs.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Field(field) => Some(*field),
            Segment::Literal(_) => None,
        })
    }

    /// The one field that it consists of, if it is nothing but that.
    pub fn only_field(&self) -> Option<Field> {
        match self.segments[..] {
            [Segment::Field(field)] => Some(field),
            _ => None,
        }
    }

    /// The text with each placeholder replaced by what `value_of` gives.
    ///
    /// # Errors
    /// The first field for which it gives nothing.
    pub fn fill<'a>(&self, value_of: impl Fn(Field) -> Option<&'a str>) -> Result<String, Field> {
        let mut text = String::new();
        for segment in &self.segments {
            text.push_str(match segment {
                Segment::Literal(literal) => literal,
                Segment::Field(field) => value_of(*field).ok_or(*field)?,
            });
        }
        Ok(text)
    }
}

/// As it is written in profiles.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(literal) => f.write_str(literal),
            Segment::Field(field) => write!(f, "{{{field}}}"),
        })
    }
}

/// One attribute of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectAttribute {
    /// Its type.
    pub attribute: AttributeType,
    /// Its value.
    pub value: Template,
    /// Whether a value that is too long is cut by [`crate::name::cut_common_name`]; only a CN is.
    pub cut: bool,
}
