//! The tree of an expression, in a subset of Python's grammar.

use serde_json::Value;

use super::extras::Extra;
use super::syntax_error::SyntaxError;

/// The deepest nesting accepted: expressions are parsed and evaluated recursively.
pub(super) const DEEPEST: u16 = 100;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Its position, in characters from 1.
    pub(super) at: usize,
    /// The depth of its subtree.
    depth: u16,
}

impl Node {
    /// Returns a node. An error if the tree would be nested deeper than [`DEEPEST`].
    pub(super) fn new(at: usize, kind: Kind) -> Result<Node, SyntaxError> {
        let depth = 1 + children(&kind).into_iter().map(|n| n.depth).max().unwrap_or(0);
        if depth > DEEPEST {
            return Err(SyntaxError::new(at, format!("nested deeper than {DEEPEST}")));
        }
        Ok(Node { kind, at, depth })
    }

    /// Whether the node is a literal or formatted text.
    pub(super) fn is_text(&self) -> bool {
        matches!(&self.kind, Kind::Literal(Value::String(_)) | Kind::Format(_))
    }
}

/// The kind of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Literal(Value),
    Name(String),
    List(Vec<Node>),
    /// A tuple, which becomes a list in JSON.
    Tuple(Vec<Node>),
    /// `{'key': value}`.
    Object(Vec<(Node, Node)>),
    /// `[x for x in list]`, `{k: v for …}`.
    Comprehension(Box<Element>, Vec<Clause>),
    /// `f'{first} {last}'`: literals and expressions, concatenated.
    Format(Vec<Node>),
    Index(Box<Node>, Box<Node>),
    /// Start, end, step.
    Slice(Box<Node>, [Option<Box<Node>>; 3]),
    /// `record.mail`.
    Attribute(Box<Node>, String),
    Call(Function, Vec<Node>),
    /// A function that the SDK does not have.
    Extra(Extra, Vec<Node>),
    Method(Box<Node>, Method, Vec<Node>),
    Not(Box<Node>),
    Negative(Box<Node>),
    Positive(Box<Node>),
    Binary(Box<Node>, Operator, Box<Node>),
    /// `a < b <= c`.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    And(Vec<Node>),
    Or(Vec<Node>),
    If {
        test: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
}

/// A clause of a comprehension: `for NAMES in ITER if CONDITION`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    /// One name, or the names that an item is unpacked into.
    pub(super) targets: Vec<String>,
    /// Whether an item is unpacked.
    pub(super) unpacks: bool,
    pub(super) items: Node,
    pub(super) conditions: Vec<Node>,
}

/// The element of a comprehension, evaluated for each item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    One(Node),
    /// `{K: V for …}`.
    Pair(Node, Node),
}

impl Element {
    pub(super) fn nodes(&self) -> Vec<&Node> {
        match self {
            Element::One(node) => vec![node],
            Element::Pair(key, value) => vec![key, value],
        }
    }
}

/// Functions of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Bool,
    EscapeDn,
    Float,
    Int,
    /// `json.dumps`
    JsonDumps,
    /// `json.loads`
    JsonLoads,
    Len,
    List,
    Md5,
    Sha256,
    Str,
}

/// Functions by their names.
pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("bool", Function::Bool),
    ("escape_dn", Function::EscapeDn),
    ("float", Function::Float),
    ("int", Function::Int),
    ("json.dumps", Function::JsonDumps),
    ("json.loads", Function::JsonLoads),
    ("len", Function::Len),
    ("list", Function::List),
    ("md5", Function::Md5),
    ("sha256", Function::Sha256),
    ("str", Function::Str),
];

/// Methods of texts, of lists (`count`, `index`) and of objects (`get`, `items`, `keys`, `values`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Capitalize,
    Count,
    EndsWith,
    Find,
    Get,
    Index,
    IsDigit,
    IsSpace,
    Items,
    Join,
    Keys,
    LJust,
    Lower,
    LStrip,
    Partition,
    RemovePrefix,
    RemoveSuffix,
    Replace,
    RFind,
    RJust,
    RSplit,
    RStrip,
    Split,
    SplitLines,
    StartsWith,
    Strip,
    Title,
    Upper,
    Values,
    ZFill,
}

/// Methods, with their smallest and largest number of arguments.
pub(super) const METHODS: &[(&str, Method, usize, usize)] = &[
    ("capitalize", Method::Capitalize, 0, 0),
    ("count", Method::Count, 1, 1),
    ("endswith", Method::EndsWith, 1, 1),
    ("find", Method::Find, 1, 1),
    ("get", Method::Get, 1, 2),
    ("index", Method::Index, 1, 1),
    ("isdigit", Method::IsDigit, 0, 0),
    ("isspace", Method::IsSpace, 0, 0),
    ("items", Method::Items, 0, 0),
    ("join", Method::Join, 1, 1),
    ("keys", Method::Keys, 0, 0),
    ("ljust", Method::LJust, 1, 2),
    ("lower", Method::Lower, 0, 0),
    ("lstrip", Method::LStrip, 0, 1),
    ("partition", Method::Partition, 1, 1),
    ("removeprefix", Method::RemovePrefix, 1, 1),
    ("removesuffix", Method::RemoveSuffix, 1, 1),
    ("replace", Method::Replace, 2, 3),
    ("rfind", Method::RFind, 1, 1),
    ("rjust", Method::RJust, 1, 2),
    ("rsplit", Method::RSplit, 0, 2),
    ("rstrip", Method::RStrip, 0, 1),
    ("split", Method::Split, 0, 2),
    ("splitlines", Method::SplitLines, 0, 0),
    ("startswith", Method::StartsWith, 1, 1),
    ("strip", Method::Strip, 0, 1),
    ("title", Method::Title, 0, 0),
    ("upper", Method::Upper, 0, 0),
    ("values", Method::Values, 0, 0),
    ("zfill", Method::ZFill, 1, 1),
];

impl Method {
    /// Returns the name.
    pub(super) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method, ..)| *method == self).map_or("", |(name, ..)| name)
    }
}

impl Function {
    /// Returns the name.
    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// `//`
    FloorDivide,
    Modulo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Is,
    IsNot,
}

/// Returns the children of a node.
pub(super) fn children(kind: &Kind) -> Vec<&Node> {
    match kind {
        Kind::Literal(_) | Kind::Name(_) => Vec::new(),
        Kind::List(items)
        | Kind::Tuple(items)
        | Kind::Format(items)
        | Kind::And(items)
        | Kind::Or(items)
        | Kind::Extra(_, items)
        | Kind::Call(_, items) => items.iter().collect(),
        Kind::Object(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        Kind::Comprehension(element, clauses) => {
            let of_clauses = clauses.iter().flat_map(|c| std::iter::once(&c.items).chain(&c.conditions));
            of_clauses.chain(element.nodes()).collect()
        }
        Kind::Index(a, b) | Kind::Binary(a, _, b) => vec![a, b],
        Kind::Slice(of, bounds) => {
            std::iter::once(&**of).chain(bounds.iter().flatten().map(|n| &**n)).collect()
        }
        Kind::Attribute(of, _) | Kind::Not(of) | Kind::Negative(of) | Kind::Positive(of) => vec![of],
        Kind::Method(of, _, arguments) => std::iter::once(&**of).chain(arguments).collect(),
        Kind::Compare(first, rest) => std::iter::once(&**first).chain(rest.iter().map(|(_, n)| n)).collect(),
        Kind::If { test, then, otherwise } => vec![test, then, otherwise],
    }
}
