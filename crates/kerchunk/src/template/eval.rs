//! The values of expressions.

use super::expression::{BinaryOperator, Expression};
use super::format::{format_braces, format_percent};
use super::{LONGEST, NamedTemplate, Scope, TemplateValue};

impl Expression {
    /// The value, given what names stand for; in words, why there is none.
    pub(super) fn value(&self, scope: Scope<'_>) -> Result<TemplateValue, String> {
        Ok(match self {
            Self::Int(n) => TemplateValue::Int(*n),
            Self::Text(text) => TemplateValue::Text(text.clone()),
            Self::Name(name) => scope.value(name)?,
            Self::Tuple(all) => TemplateValue::Tuple(values(all, scope)?),
            Self::Negative(inner) => TemplateValue::Int(inner.value(scope)?.int()?.checked_neg().ok_or_else(too_large)?),
            Self::Binary(left, operator, right) => binary(&left.value(scope)?, *operator, right.value(scope)?)?,
            Self::Call(name, arguments) => TemplateValue::Text(scope.call(name, &named_values(arguments, scope)?)?),
            Self::Filter(text, arguments) => TemplateValue::Text(format_percent(text.value(scope)?.text()?, &values(arguments, scope)?)?),
            Self::Format(text, plain, named) => {
                let (plain, named) = (values(plain, scope)?, named_values(named, scope)?);
                TemplateValue::Text(format_braces(text.value(scope)?.text()?, &plain, &named)?)
            }
        })
    }
}

fn values(all: &[Expression], scope: Scope<'_>) -> Result<Vec<TemplateValue>, String> {
    all.iter().map(|one| one.value(scope)).collect()
}

fn named_values(all: &[(String, Expression)], scope: Scope<'_>) -> Result<Vec<(String, TemplateValue)>, String> {
    all.iter().map(|(name, one)| Ok((name.clone(), one.value(scope)?))).collect()
}

fn too_large() -> String {
    "the number does not fit into 64 bits".to_owned()
}

fn binary(left: &TemplateValue, operator: BinaryOperator, right: TemplateValue) -> Result<TemplateValue, String> {
    if let (TemplateValue::Text(text), BinaryOperator::Percent) = (left, operator) {
        let arguments = match right {
            TemplateValue::Tuple(all) => all,
            one => vec![one],
        };
        return format_percent(text, &arguments).map(TemplateValue::Text);
    }
    let (left, right) = (left.int()?, right.int()?);
    let divided = match operator {
        BinaryOperator::FloorDivide | BinaryOperator::Percent if right == 0 => return Err("a division by zero".to_owned()),
        // Towards minus infinity, as in Python.
        BinaryOperator::FloorDivide => {
            left.checked_div(right).map(|quotient| if (left % right != 0) && ((left < 0) != (right < 0)) { quotient - 1 } else { quotient })
        }
        BinaryOperator::Percent => {
            left.checked_rem(right).map(|rest| if rest != 0 && ((rest < 0) != (right < 0)) { rest + right } else { rest })
        }
        BinaryOperator::Add => left.checked_add(right),
        BinaryOperator::Subtract => left.checked_sub(right),
        BinaryOperator::Multiply => left.checked_mul(right),
    };
    divided.map(TemplateValue::Int).ok_or_else(too_large)
}

impl Scope<'_> {
    fn value(&self, name: &str) -> Result<TemplateValue, String> {
        let too_long = |text: &str| (text.len() > LONGEST).then(|| format!("{name} is longer than {LONGEST} bytes"));
        if let Some((_, value)) = self.names.iter().find(|(known, _)| known == name) {
            return match value {
                TemplateValue::Text(text) => too_long(text).map_or_else(|| Ok(value.clone()), Err),
                TemplateValue::Int(_) | TemplateValue::Tuple(_) => Ok(value.clone()),
            };
        }
        match self.templates.and_then(|templates| templates.by_name.get(name)) {
            Some(NamedTemplate::Plain(text)) => too_long(text).map_or_else(|| Ok(TemplateValue::Text(text.clone())), Err),
            Some(NamedTemplate::Called(_)) => Err(format!("{name} is a template with expressions: call it, as in {name}(c='x')")),
            None => Err(format!("the name {name} is not known")),
        }
    }

    fn call(&self, name: &str, arguments: &[(String, TemplateValue)]) -> Result<String, String> {
        match self.templates.and_then(|templates| templates.by_name.get(name)) {
            Some(NamedTemplate::Called(template)) => {
                template.render(Scope { names: arguments, templates: None }).map_err(|e| e.to_string())
            }
            Some(NamedTemplate::Plain(_)) => Err(format!("{name} is a template without expressions, so it cannot be called")),
            None => Err(format!("there is no template {name} that could be called")),
        }
    }
}

impl TemplateValue {
    fn int(&self) -> Result<i64, String> {
        match self {
            Self::Int(n) => Ok(*n),
            Self::Text(_) | Self::Tuple(_) => Err("only integers are computed with".to_owned()),
        }
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Int(_) | Self::Tuple(_) => Err("only text formats".to_owned()),
        }
    }
}
