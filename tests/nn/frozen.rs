//! Matrices that are not trained give the products and gradients of the numbers they hold.

use candle_core::{
    DType, Device, Tensor, Var,
    quantized::{GgmlDType, QTensor},
};
use noso::nn::ops::{self, Frozen, composed};

use super::numbers::{assert_close, check_same, flat, numbers, variable};

const FORMATS: [GgmlDType; 6] =
    [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16, GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4K];

/// Holds a matrix in a format. Returns the numbers that are left of it, too, which come from the whole matrix at once.
fn hold(weight: &Tensor, format: GgmlDType) -> (Frozen, Tensor) {
    let shape = weight.dims2().unwrap().into();
    let read = |rows: std::ops::Range<usize>| Ok(weight.narrow(0, rows.start, rows.len())?);
    let frozen = Frozen::new(shape, format, &Device::Cpu, read).unwrap();
    let rounded = |dtype| weight.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
    let left = match format {
        GgmlDType::F32 => weight.clone(),
        GgmlDType::F16 => rounded(DType::F16),
        GgmlDType::BF16 => rounded(DType::BF16),
        other => QTensor::quantize(weight, other).unwrap().dequantize(&Device::Cpu).unwrap(),
    };
    (frozen, left)
}

#[test]
fn products_and_gradients_are_those_of_the_numbers_held() {
    // The last two matrices are multiplied in several blocks, of which the last is shorter.
    for (rows, from, to) in [(1, 256, 1), (45, 256, 17), (0, 256, 3), (1, 512, 4100), (3, 512, 4100)] {
        // As small as real ones: the sums of 4100 products are then exact enough.
        let (x, weight) = (variable(&[rows, from], 1), (variable(&[to, from], 2).as_tensor().detach() * 0.1).unwrap());
        let bias = Tensor::from_vec(numbers(to, 3), to, &Device::Cpu).unwrap();
        for format in FORMATS {
            let (frozen, left) = hold(&weight, format);
            assert_eq!(frozen.bytes(), to * from / format.block_size() * format.type_size());
            if rows == 0 {
                assert_eq!(frozen.linear(&x, None).unwrap().dims(), [0, to]);
                continue;
            }
            for bias in [None, Some(&bias)] {
                check_same(&[&x], &|| frozen.linear(&x, bias).unwrap(), &|| ops::linear(&x, &left, bias).unwrap());
                check_same(&[&x], &|| frozen.linear(&x, bias).unwrap(), &|| {
                    composed::frozen_linear(&x, &frozen, bias).unwrap()
                });
            }
            let slope = Tensor::from_vec(numbers(rows * to, 4), (rows, to), &Device::Cpu).unwrap();
            let gradient = composed::frozen_linear_gradient(&slope, &frozen).unwrap();
            assert_close(&flat(&gradient), &flat(&slope.matmul(&left).unwrap()), "gradient in basic operations");
        }
    }
}

#[test]
fn only_what_goes_in_gets_a_gradient() {
    let weight = Var::from_tensor(&variable(&[3, 32], 2)).unwrap();
    let (frozen, _) = hold(weight.as_tensor(), GgmlDType::BF16);
    let (x, bias) = (variable(&[2, 32], 1), variable(&[3], 3));
    let store = frozen.linear(&x, Some(&bias)).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&x).is_some() && store.get(&weight).is_none() && store.get(&bias).is_none());
}

#[test]
fn rows_are_looked_up_and_what_does_not_fit_is_refused() {
    let weight = variable(&[9, 32], 2).as_tensor().detach();
    let (frozen, left) = hold(&weight, GgmlDType::BF16);
    let ids = [8, 0, 8];
    assert_eq!(flat(&frozen.rows(&ids).unwrap()), flat(&ops::embed(&left, &ids).unwrap()));
    assert!(frozen.rows(&[9]).is_err());
    assert!(frozen.linear(&variable(&[2, 9], 1), None).is_err());
    assert!(frozen.linear(&variable(&[2, 32], 1), Some(&variable(&[8], 1))).is_err());
    assert!(hold(&weight, GgmlDType::Q8_0).0.rows(&ids).is_err());
    let read = |_| Ok(variable(&[3, 40], 2).as_tensor().detach());
    assert!(Frozen::new([3, 40], GgmlDType::Q8_0, &Device::Cpu, read).is_err());
}
