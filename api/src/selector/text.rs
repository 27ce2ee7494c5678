//! The text form of label selectors: `a=b,c in (d,e),!f,g>5`.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::label::{Operator, Requirement, Selector};
use super::{MAX_TEXT, SelectorError, names};

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_TEXT {
            return Err(SelectorError(format!("a label selector may not be longer than {MAX_TEXT} bytes")));
        }
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        loop {
            match parser.peek_value() {
                Token::Word(_) | Token::Not => {
                    let requirement = parser.requirement();
                    let requirement = requirement
                        .map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?;
                    requirements.push(requirement);
                    match parser.next_value() {
                        Token::End => break,
                        Token::Comma => match parser.peek_value() {
                            Token::Word(_) | Token::Not => {}
                            other => return found(other, "identifier after ','"),
                        },
                        other => return found(other, "',' or 'end of string'"),
                    }
                }
                Token::End => break,
                other => return found(other, "!, identifier, or 'end of string'"),
            }
        }
        Ok(Selector::all(requirements))
    }
}

fn found<T>(token: Token<'_>, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{}', expected: {expected}", token.text())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    Not,
    Open,
    Close,
    Comma,
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(word) => word,
            Token::In => "in",
            Token::NotIn => "notin",
            Token::Equals => "=",
            Token::DoubleEquals => "==",
            Token::NotEquals => "!=",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Not => "!",
            Token::Open => "(",
            Token::Close => ")",
            Token::Comma => ",",
            Token::End => "",
        }
    }

    /// `in` and `notin` are operators only where an operator can stand.
    fn as_value(self) -> Self {
        match self {
            Token::In | Token::NotIn => Token::Word(self.text()),
            other => other,
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let symbol = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else { return tokens };
        let (token, length) = match first {
            '=' if rest.starts_with("==") => (Token::DoubleEquals, 2),
            '=' => (Token::Equals, 1),
            '!' if rest.starts_with("!=") => (Token::NotEquals, 2),
            '!' => (Token::Not, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '>' => (Token::Greater, 1),
            '<' => (Token::Less, 1),
            _ => {
                let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
                let length = rest.find(|c| symbol(c) || blank(c)).unwrap_or(rest.len());
                let token = match &rest[..length] {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    word => Token::Word(word),
                };
                (token, length)
            }
        };
        tokens.push(token);
        rest = &rest[length..];
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn peek_value(&self) -> Token<'a> {
        self.peek().as_value()
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn next_value(&mut self) -> Token<'a> {
        self.next().as_value()
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next_value();
        let negated = token == Token::Not;
        if negated {
            token = self.next_value();
        }
        let Token::Word(key) = token else { return found(token, "identifier") };
        names::check_label_key(key)?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek_value(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, BTreeSet::new());
        }
        let token = self.next();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            other => return found(other, OPERATORS),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values)
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.next_value() {
            Token::Open => {}
            other => return Err(SelectorError(format!("found '{}' expected: '('", other.text()))),
        }
        let mut values = BTreeSet::new();
        if self.peek_value() == Token::Close {
            self.next();
            return Ok(values);
        }
        loop {
            // Nothing between commas is the empty value.
            match self.peek_value() {
                Token::Word(word) => {
                    self.next();
                    values.insert(word.to_owned());
                }
                Token::Comma | Token::Close => {
                    values.insert(String::new());
                }
                other => return found(other, "',', ')' or identifier"),
            }
            match self.next_value() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return found(other, "',' or ')'"),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        match self.peek_value() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            other => found(other, "identifier"),
        }
    }
}
