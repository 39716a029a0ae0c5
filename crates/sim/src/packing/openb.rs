//! Reads openb: nodes, pods, and the order in which pods arrive.
//!
//! A row is believed only when every amount in it is there, is a whole number and is one that a
//! machine could have; names rise from row to row, so that none comes twice and rows keep the
//! numbers by which an order names them. The first row that is otherwise ends the reading with its
//! line and what is wrong with it: a trace with a hole would be measured as another trace.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most rows of a file.
pub const ROWS_MAX: usize = 1_000_000;
/// Most bytes of an order once unpacked.
pub const ORDER_BYTES_MAX: u64 = 16 << 20;
/// Most CPU of a row in thousandths of a core: 100,000 cores.
pub const CPU_MILLI_MAX: i64 = 100_000_000;
/// Most memory of a row in MiB: one PiB.
pub const MEMORY_MIB_MAX: i64 = 1 << 30;
/// Most devices of a row.
pub const DEVICES_MAX: i64 = 64;
/// Most models that the nodes name together.
pub const MODELS_MAX: usize = 64;

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Devices, all of one model.
    pub devices: u32,
    /// Their model, by its place in [`Cluster::models`].
    pub model: usize,
}

/// All machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Machines as listed.
    pub nodes: Vec<NodeRow>,
    /// Models as first met.
    pub models: Vec<String>,
}

impl Cluster {
    /// Compute of all devices in thousandths.
    #[must_use]
    pub fn milli(&self) -> i64 {
        self.nodes.iter().map(|node| i64::from(node.devices) * 1000).sum()
    }
}

/// What a pod asks for. Pods that ask for the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Devices, all on one machine.
    pub devices: u32,
    /// Compute of each in thousandths.
    pub milli: i32,
    /// Models that would do, one bit each by place in [`Cluster::models`]; absent means any.
    pub models: Option<u64>,
}

impl Pod {
    /// Compute of all its devices in thousandths.
    #[must_use]
    pub fn milli_all(&self) -> i64 {
        i64::from(self.devices) * i64::from(self.milli)
    }

    /// Whether devices of a model would do.
    #[must_use]
    pub fn is_served_by(&self, model: usize) -> bool {
        let model = u32::try_from(model).unwrap_or(u32::MAX);
        self.models.is_none_or(|models| models.checked_shr(model).unwrap_or(0) & 1 == 1)
    }
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum OpenbError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no table.
    #[error("{path}: {source}")]
    Table {
        /// Which.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{path} has no column {column}: is it a list of openb?")]
    NoColumn {
        /// Which.
        path: PathBuf,
        /// Which column.
        column: &'static str,
    },
    /// A row is not one.
    #[error("{path}, line {line}: {wrong}")]
    Row {
        /// Which.
        path: PathBuf,
        /// Counted from 1, the heading included.
        line: u64,
        /// What is wrong with it.
        wrong: Wrong,
    },
    /// There are more rows than are read.
    #[error("{path} has more than {ROWS_MAX} rows: take a part of it")]
    TooLong {
        /// Which.
        path: PathBuf,
    },
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Wrong {
    /// A value is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is no whole number.
    #[error("{column} is {value:?}, which is no whole number")]
    NoNumber {
        /// Which column.
        column: &'static str,
        /// What it says.
        value: String,
    },
    /// A value is below what it may be.
    #[error("{column} is {value}, which is below {min}")]
    TooSmall {
        /// Which column.
        column: &'static str,
        /// What it says.
        value: i64,
        /// The least that makes sense.
        min: i64,
    },
    /// A value is beyond what a machine has.
    #[error("{column} is {value}, which is beyond {max}")]
    Absurd {
        /// Which column.
        column: &'static str,
        /// What it says.
        value: i64,
        /// The most that makes sense.
        max: i64,
    },
    /// A name came before.
    #[error("{0} was there before")]
    Twice(String),
    /// Names do not rise, so row numbers would mean other rows.
    #[error("{name} comes after {before}: sort the rows by name")]
    Unsorted {
        /// Which.
        name: String,
        /// What came before it.
        before: String,
    },
    /// More models than are told apart.
    #[error("model {0} is one more than the {MODELS_MAX} that are told apart")]
    TooManyModels(String),
    /// No machine has the model.
    #[error("model {0} is on no machine of the cluster")]
    UnknownModel(String),
    /// An order names a row that the list does not have.
    #[error("row {row} is asked for and the list has {rows}")]
    NoSuchRow {
        /// Counted from 0.
        row: i64,
        /// Rows of the list.
        rows: usize,
    },
}

/// Reads the machines.
///
/// # Errors
/// Names the file, the line and what is wrong there.
pub fn cluster(path: &Path) -> Result<Cluster, OpenbError> {
    let mut cluster = Cluster::default();
    let columns = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];
    each_row(path, columns, &[], |row| {
        let devices = row.amount("gpu", 0, DEVICES_MAX)?;
        let name = row.text("model");
        let known = cluster.models.iter().position(|model| *model == name);
        if devices > 0 && name.is_empty() {
            return Err(Wrong::Missing("model"));
        }
        if known.is_none() && cluster.models.len() == MODELS_MAX {
            return Err(Wrong::TooManyModels(name));
        }
        let model = known.unwrap_or(cluster.models.len());
        if known.is_none() {
            cluster.models.push(name);
        }
        cluster.nodes.push(NodeRow {
            cpu_milli: row.amount("cpu_milli", 1, CPU_MILLI_MAX)?,
            memory_mib: row.amount("memory_mib", 1, MEMORY_MIB_MAX)?,
            devices: u32::try_from(devices).unwrap_or(0),
            model,
        });
        Ok(())
    })?;
    Ok(cluster)
}

/// Reads a list of pods for a cluster.
///
/// # Errors
/// Names the file, the line and what is wrong there.
pub fn pods(path: &Path, cluster: &Cluster) -> Result<Vec<Pod>, OpenbError> {
    let mut pods = Vec::new();
    let columns = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"];
    each_row(path, columns, &["gpu_spec"], |row| {
        let devices = row.amount("num_gpu", 0, DEVICES_MAX)?;
        let (least, most) = if devices == 0 { (0, 0) } else { (1, 1000) };
        let milli = row.amount("gpu_milli", least, most)?;
        pods.push(Pod {
            cpu_milli: row.amount("cpu_milli", 0, CPU_MILLI_MAX)?,
            memory_mib: row.amount("memory_mib", 0, MEMORY_MIB_MAX)?,
            devices: u32::try_from(devices).unwrap_or(0),
            milli: i32::try_from(milli).unwrap_or(0),
            models: models(&row.text("gpu_spec"), cluster)?,
        });
        Ok(())
    })?;
    Ok(pods)
}

/// The models that a pod names: `V100M16|V100M32`.
fn models(named: &str, cluster: &Cluster) -> Result<Option<u64>, Wrong> {
    if named.is_empty() {
        return Ok(None);
    }
    let bit = |name: &str| {
        let place = cluster.models.iter().position(|model| model == name);
        place.map(|place| 1 << place).ok_or_else(|| Wrong::UnknownModel(name.into()))
    };
    let bits: Result<Vec<u64>, Wrong> = named.split('|').map(bit).collect();
    Ok(Some(bits?.into_iter().fold(0, |all, bit| all | bit)))
}

/// Reads an order of arrival: rows of a list of pods, counted from 0, packed by gzip.
///
/// # Errors
/// Names the file, the line and what is wrong there.
pub fn order(path: &Path, rows: usize) -> Result<Vec<usize>, OpenbError> {
    let failed = |source| OpenbError::File { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(file).take(ORDER_BYTES_MAX);
    unpacked.read_to_string(&mut text).map_err(failed)?;
    let mut order = Vec::new();
    for (line, number) in (1..).zip(text.lines()) {
        let wrong = |wrong| OpenbError::Row { path: path.into(), line, wrong };
        if order.len() == ROWS_MAX {
            return Err(OpenbError::TooLong { path: path.into() });
        }
        let row: i64 = whole("row", number.trim()).map_err(wrong)?;
        let known = usize::try_from(row).ok().filter(|row| *row < rows);
        order.push(known.ok_or_else(|| wrong(Wrong::NoSuchRow { row, rows }))?);
    }
    Ok(order)
}

/// One row, its values by column.
struct Row<'a> {
    heading: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    /// What a column says; nothing when it is not there.
    fn text(&self, column: &str) -> String {
        let place = self.heading.iter().position(|name| name == column);
        place.and_then(|place| self.record.get(place)).unwrap_or("").trim().to_owned()
    }

    /// A whole number between two others.
    fn amount(&self, column: &'static str, min: i64, max: i64) -> Result<i64, Wrong> {
        let value = whole(column, &self.text(column))?;
        match value {
            value if value < min => Err(Wrong::TooSmall { column, value, min }),
            value if value > max => Err(Wrong::Absurd { column, value, max }),
            value => Ok(value),
        }
    }
}

/// A whole number.
fn whole(column: &'static str, text: &str) -> Result<i64, Wrong> {
    if text.is_empty() {
        return Err(Wrong::Missing(column));
    }
    text.parse().map_err(|_| Wrong::NoNumber { column, value: text.chars().take(40).collect() })
}

/// Gives each row to `take`. The first of `columns` is the name, by which rows are sorted.
fn each_row(
    path: &Path,
    columns: [&'static str; 5],
    optional: &[&'static str],
    mut take: impl FnMut(&Row) -> Result<(), Wrong>,
) -> Result<(), OpenbError> {
    let table = |source| OpenbError::Table { path: path.into(), source };
    let mut reader = csv::Reader::from_path(path).map_err(table)?;
    let heading = reader.headers().map_err(table)?.clone();
    let has = |column: &str| heading.iter().any(|name| name == column);
    if let Some(column) = columns.into_iter().find(|column| !has(column)) {
        return Err(OpenbError::NoColumn { path: path.into(), column });
    }
    debug_assert!(optional.iter().all(|column| !columns.contains(column)));
    let mut before = String::new();
    for (rows, record) in reader.records().enumerate() {
        let record = record.map_err(table)?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |wrong| OpenbError::Row { path: path.into(), line, wrong };
        if rows == ROWS_MAX {
            return Err(OpenbError::TooLong { path: path.into() });
        }
        let row = Row { heading: &heading, record: &record };
        let [column, ..] = columns;
        let name = row.text(column);
        match name.cmp(&before) {
            _ if name.is_empty() => return Err(wrong(Wrong::Missing(column))),
            std::cmp::Ordering::Equal => return Err(wrong(Wrong::Twice(name))),
            std::cmp::Ordering::Less => return Err(wrong(Wrong::Unsorted { name, before })),
            std::cmp::Ordering::Greater => take(&row).map_err(wrong)?,
        }
        before = name;
    }
    Ok(())
}
