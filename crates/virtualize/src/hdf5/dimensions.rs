//! Which dimensions variables have.
//!
//! netCDF4 and h5netcdf make a dataset of each dimension, a *dimension scale*, and variables refer to it by address
//! (`DIMENSION_LIST`). A dataset without such a list gets dimensions `phony_dim_0`, `phony_dim_1` and so on, one for each length, as the
//! netCDF library names them.

use std::collections::{BTreeMap, HashMap};

use firnline::{Error, Result};
use hdf5_reader::group::Group;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::messages::dataspace::UNLIMITED;
use hdf5_reader::{Attribute, Dataset};

use super::attributes::AttributeReader;
use super::{FoundDataset, failed};
use crate::element;

/// How netCDF marks a dimension that has no variable of its name.
const NO_VARIABLE: &str = "This is a netCDF dimension but not a netCDF variable";

/// The attributes that say so.
const NEEDED: [&str; 5] = ["CLASS", "DIMENSION_LIST", "NAME", "_Netcdf4Coordinates", "_Netcdf4Dimid"];

/// The dimensions of all datasets of a file, in their order.
pub(super) struct Dimensions {
    all: Vec<DatasetDims>,
}

/// The dimensions of one dataset.
#[derive(Default)]
pub(super) struct DatasetDims {
    pub(super) names: Vec<String>,
    /// The shape: longer than what is stored where an unlimited dimension is longer than this dataset was written.
    pub(super) shape: Vec<u64>,
    is_only_dimension: bool,
}

/// The paths of dimension scales, by the address of the dataset and by the number that netCDF4 gave the dimension.
#[derive(Default)]
struct Scales<'d> {
    by_address: HashMap<u64, &'d str>,
    by_number: HashMap<i128, &'d str>,
}

impl Dimensions {
    pub(super) fn find(
        reader: &AttributeReader<'_>,
        datasets: &[FoundDataset],
        stored: &HashMap<u64, Vec<AttributeMessage>>,
    ) -> Result<Self> {
        let root = reader.root;
        let needed = |found: &FoundDataset| {
            let stored = stored.get(&found.dataset.address()).map_or(&[][..], Vec::as_slice);
            let needed = stored.iter().filter(|attribute| NEEDED.contains(&attribute.name.as_str()));
            needed.map(|attribute| reader.decode(attribute).map_err(|e| e.context(&found.path))).collect::<Result<Vec<Attribute>>>()
        };
        let attributes: Vec<Vec<Attribute>> = datasets.iter().map(needed).collect::<Result<_>>()?;
        let mut scales = Scales::default();
        for (FoundDataset { path, dataset, .. }, attributes) in datasets.iter().zip(&attributes) {
            if !is_scale(attributes) {
                continue;
            }
            scales.by_address.insert(dataset.address(), path);
            if let Some(number) = find(attributes, "_Netcdf4Dimid").map(integers).and_then(|n| n.first().copied()) {
                scales.by_number.insert(number, path);
            }
        }
        let mut phony = Phony::default();
        let mut paths = Vec::with_capacity(datasets.len());
        for (FoundDataset { path, dataset, is_dropped }, attributes) in datasets.iter().zip(&attributes) {
            let dims = match is_dropped {
                // Only the length of a dimension counts.
                true if is_scale(attributes) && dataset.shape().len() == 1 => vec![path.clone()],
                true => Vec::new(),
                false => scales.of(root, path, dataset, attributes, &mut phony).map_err(|e| e.context(path))?,
            };
            reader.budget.take(dims.iter().map(|dim| dim.len() as u64).sum()).map_err(|e| e.context(path))?;
            paths.push(dims);
        }
        let mut lengths: HashMap<&str, u64> = HashMap::new();
        for (found, paths) in datasets.iter().zip(&paths) {
            for (path, len) in paths.iter().zip(found.dataset.shape()) {
                let longest = lengths.entry(path).or_default();
                *longest = (*longest).max(*len);
            }
        }
        let mut all = Vec::with_capacity(datasets.len());
        for ((FoundDataset { path, dataset, is_dropped }, attributes), dims) in datasets.iter().zip(&attributes).zip(&paths) {
            let shape = if *is_dropped { Vec::new() } else { shape(dataset, dims, &lengths).map_err(|e| e.context(path))? };
            let names = dims.iter().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect();
            all.push(DatasetDims { names, shape, is_only_dimension: is_only_dimension(attributes) });
        }
        Ok(Self { all })
    }

    /// The dimensions of the dataset in place `n`.
    pub(super) fn of(&self, n: usize) -> &DatasetDims {
        const NONE: &DatasetDims = &DatasetDims { names: Vec::new(), shape: Vec::new(), is_only_dimension: false };
        self.all.get(n).unwrap_or(NONE)
    }

    /// Whether the dataset in place `n` is a dimension and no variable.
    pub(super) fn is_only_dimension(&self, n: usize) -> bool {
        self.of(n).is_only_dimension
    }
}

/// The shape of a dataset whose dimensions have these lengths.
fn shape(dataset: &Dataset, dims: &[String], lengths: &HashMap<&str, u64>) -> Result<Vec<u64>> {
    let mut shape = dataset.shape().to_vec();
    for (n, (len, dim)) in shape.iter_mut().zip(dims).enumerate() {
        let whole = lengths.get(dim.as_str()).copied().unwrap_or(*len);
        let is_unlimited = dataset.max_dims().and_then(|most| most.get(n)) == Some(&UNLIMITED);
        if *len != whole && !is_unlimited {
            return Err(Error::corrupt(format!("dimension {dim} has {len} elements here and {whole} elsewhere in the file")));
        }
        *len = whole;
    }
    Ok(shape)
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name == name)
}

fn is_text(attributes: &[Attribute], name: &str, is_it: impl Fn(&str) -> bool) -> bool {
    find(attributes, name).and_then(|a| a.read_string().ok()).is_some_and(|text| is_it(&text))
}

fn is_scale(attributes: &[Attribute]) -> bool {
    is_text(attributes, "CLASS", |text| text == "DIMENSION_SCALE")
}

fn is_only_dimension(attributes: &[Attribute]) -> bool {
    is_scale(attributes) && is_text(attributes, "NAME", |text| text.starts_with(NO_VARIABLE))
}

/// The values of an attribute of 32-bit integers in the order of this file's writer, which netCDF4 keeps little-endian.
fn integers(attribute: &Attribute) -> Vec<i128> {
    attribute.raw_data.chunks_exact(4).map(element::signed).collect()
}

impl Scales<'_> {
    /// The paths of the dimensions of a dataset.
    fn of(&self, root: &Group, path: &str, dataset: &Dataset, attributes: &[Attribute], phony: &mut Phony) -> Result<Vec<String>> {
        let rank = dataset.shape().len();
        let listed = find(attributes, "DIMENSION_LIST").map(|list| self.listed(root, list)).transpose()?.unwrap_or_default();
        let numbers = find(attributes, "_Netcdf4Coordinates").map(integers).unwrap_or_default();
        let is_scale = is_scale(attributes);
        let mut used = BTreeMap::new();
        let dim = |n: usize| {
            let by_number = || self.by_number.get(numbers.get(n)?).copied();
            let own = || (is_scale && rank == 1).then_some(path);
            listed.get(n).copied().flatten().or_else(own).or_else(by_number).map(str::to_owned)
        };
        let mut dims = Vec::with_capacity(rank);
        for (n, len) in dataset.shape().iter().enumerate() {
            dims.push(dim(n).unwrap_or_else(|| phony.name(*len, &mut used)));
        }
        Ok(dims)
    }

    /// The scale of each dimension in a `DIMENSION_LIST`: for each a reference to a list of addresses, of which the first counts.
    fn listed(&self, root: &Group, list: &Attribute) -> Result<Vec<Option<&str>>> {
        let width = usize::from(root.offset_size());
        let first = |reference: &[u8]| {
            let addresses = root.resolve_vlen_reference_bytes(reference, width).map_err(|e| failed(&e).context("DIMENSION_LIST"))?;
            let address = addresses.get(..width).and_then(|address| u64::try_from(element::unsigned(address)).ok());
            Ok(address.and_then(|address| self.by_address.get(&address).copied()))
        };
        list.raw_data.chunks_exact(4 + width + 4).map(first).collect()
    }
}

/// Names for dimensions that have none.
#[derive(Default)]
struct Phony {
    /// The names given out for each length, in order: one dataset may have several dimensions of one length.
    by_length: BTreeMap<u64, Vec<String>>,
    given: usize,
}

impl Phony {
    /// The next name for this length in one dataset; `used` counts the names that the dataset has already.
    fn name(&mut self, len: u64, used: &mut BTreeMap<u64, usize>) -> String {
        let names = self.by_length.entry(len).or_default();
        let n = used.entry(len).or_default();
        *n += 1;
        if names.len() < *n {
            names.push(format!("phony_dim_{}", self.given));
            self.given += 1;
        }
        names.get(*n - 1).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_phony_name_in_all_datasets_and_two_in_a_square() {
        let mut phony = Phony::default();
        let mut name = |shape: &[u64]| {
            let mut used = BTreeMap::new();
            shape.iter().map(|len| phony.name(*len, &mut used)).collect::<Vec<_>>()
        };
        assert_eq!(name(&[20, 30]), ["phony_dim_0", "phony_dim_1"]);
        assert_eq!(name(&[30, 30]), ["phony_dim_1", "phony_dim_2"]);
        assert_eq!(name(&[5, 20]), ["phony_dim_3", "phony_dim_0"]);
    }
}
