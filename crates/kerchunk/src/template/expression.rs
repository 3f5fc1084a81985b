//! Expressions, as they are written: operators bind as in Jinja, where a filter binds closer than an operator.

use std::collections::VecDeque;

use super::lexer::{TemplateWord, words};

/// How deep parentheses and signs may be nested.
const DEEPEST: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Int(i64),
    Text(String),
    Name(String),
    Negative(Box<Expression>),
    Binary(Box<Expression>, BinaryOperator, Box<Expression>),
    Tuple(Vec<Expression>),
    /// `f(c='x')`
    Call(String, Vec<(String, Expression)>),
    /// `'%03d' | format(i)`
    Filter(Box<Expression>, Vec<Expression>),
    /// `'{:03d}'.format(i)`
    Format(Box<Expression>, Vec<Expression>, Vec<(String, Expression)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    FloorDivide,
    /// Of integers the rest, of text a format.
    Percent,
}

/// What stands in parentheses after a name.
#[derive(Debug, Default)]
struct Arguments {
    plain: Vec<Expression>,
    named: Vec<(String, Expression)>,
}

impl Expression {
    /// Reads what follows `{{` up to `}}`, and how long that is with the `}}`; in words, what is not understood.
    pub(super) fn parse(text: &str) -> Result<(Self, usize), String> {
        let (words, length) = words(text)?;
        let mut parser = ExpressionParser { words: words.into(), depth: 0 };
        let expression = parser.sum()?;
        match parser.words.front() {
            None => Ok((expression, length)),
            Some(word) => Err(format!("{} is not expected there", word.shown())),
        }
    }
}

impl TemplateWord {
    fn shown(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Name(name) => name.clone(),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}

struct ExpressionParser {
    words: VecDeque<TemplateWord>,
    depth: usize,
}

impl ExpressionParser {
    /// Takes the next word if it is a sign.
    fn take(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.words.front(), Some(TemplateWord::Sign(next)) if *next == sign);
        if is_next {
            self.words.pop_front();
        }
        is_next
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        let found = self.words.front().map_or("the end".to_owned(), TemplateWord::shown);
        Err(format!("{sign} is expected, not {found}"))
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut left = self.product()?;
        loop {
            let operator = if self.take("+") {
                BinaryOperator::Add
            } else if self.take("-") {
                BinaryOperator::Subtract
            } else {
                return Ok(left);
            };
            left = Expression::Binary(Box::new(left), operator, Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut left = self.signed()?;
        loop {
            let operator = if self.take("*") {
                BinaryOperator::Multiply
            } else if self.take("//") {
                BinaryOperator::FloorDivide
            } else if self.take("%") {
                BinaryOperator::Percent
            } else if self.take("/") {
                return Err("/ gives no integer; // does".to_owned());
            } else if self.take("**") {
                return Err("powers are not computed".to_owned());
            } else {
                return Ok(left);
            };
            left = Expression::Binary(Box::new(left), operator, Box::new(self.signed()?));
        }
    }

    /// A sign, then what it is of, then filters, which are of both.
    fn signed(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep"));
        }
        let mut value = self.unfiltered()?;
        while self.take("|") {
            match self.words.pop_front() {
                Some(TemplateWord::Name(name)) if name == "format" => {}
                other => return Err(format!("the filter {} is not known; format is", other.map_or_else(String::new, |word| word.shown()))),
            }
            self.expect("(")?;
            let Arguments { plain, named } = self.arguments()?;
            if !named.is_empty() {
                return Err("the filter format takes arguments without names".to_owned());
            }
            value = Expression::Filter(Box::new(value), plain);
        }
        self.depth -= 1;
        Ok(value)
    }

    fn unfiltered(&mut self) -> Result<Expression, String> {
        if self.take("-") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(format!("it is nested more than {DEEPEST} deep"));
            }
            let inner = self.unfiltered()?;
            self.depth -= 1;
            return Ok(Expression::Negative(Box::new(inner)));
        }
        let mut value = match self.words.pop_front() {
            Some(TemplateWord::Int(n)) => Expression::Int(n),
            Some(TemplateWord::Text(text)) => Expression::Text(text),
            Some(TemplateWord::Name(name)) if self.take("(") => {
                let Arguments { plain, named } = self.arguments()?;
                if !plain.is_empty() {
                    return Err(format!("{name} is called with an argument without a name"));
                }
                Expression::Call(name, named)
            }
            Some(TemplateWord::Name(name)) => Expression::Name(name),
            Some(TemplateWord::Sign("(")) => self.group()?,
            Some(word) => return Err(format!("{} is not expected there", word.shown())),
            None => return Err("a value is missing".to_owned()),
        };
        while self.take(".") {
            match self.words.pop_front() {
                Some(TemplateWord::Name(name)) if name == "format" => {}
                other => return Err(format!("the method {} is not known; format is", other.map_or_else(String::new, |word| word.shown()))),
            }
            self.expect("(")?;
            let Arguments { plain, named } = self.arguments()?;
            value = Expression::Format(Box::new(value), plain, named);
        }
        Ok(value)
    }

    /// What follows `(` where a value is expected: one in parentheses, or several.
    fn group(&mut self) -> Result<Expression, String> {
        let first = self.sum()?;
        if self.take(")") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.take(",") {
            if self.take(")") {
                return Ok(Expression::Tuple(all));
            }
            all.push(self.sum()?);
        }
        self.expect(")")?;
        Ok(Expression::Tuple(all))
    }

    /// What follows `(` in a call.
    fn arguments(&mut self) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while !self.take(")") {
            let is_named = matches!(self.words.get(1), Some(TemplateWord::Sign("=")));
            match self.words.front() {
                Some(TemplateWord::Name(name)) if is_named => {
                    let name = name.clone();
                    self.words.drain(..2);
                    if arguments.named.iter().any(|(other, _)| *other == name) {
                        return Err(format!("{name} is given twice"));
                    }
                    let value = self.sum()?;
                    arguments.named.push((name, value));
                }
                _ if !arguments.named.is_empty() => return Err("an argument without a name follows one with a name".to_owned()),
                _ => arguments.plain.push(self.sum()?),
            }
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(arguments)
    }
}
