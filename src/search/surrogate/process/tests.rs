//! The process against scikit-learn and numpy.

use super::super::prior::{PriorMean, Term};
use super::super::testing::{continua, distances, expected, sample, term};
use super::*;

const POINTS: [[f64; 2]; 4] = [[0.1, 0.2], [0.4, 0.9], [0.8, 0.3], [0.6, 0.6]];
const VALUES: [f64; 4] = [0.5, -0.2, -1.0, 0.3];
const SHORT: [f64; 4] = [0.0, 1.0, 0.0, 0.5];
const PRIOR: [f64; 4] = [0.3, -0.4, -0.9, 0.1];
const ASKED: [[f64; 2]; 2] = [[0.3, 0.3], [0.8, 0.35]];

fn scales() -> Scales {
    let [surface, bias, noise] = [0.8f64, 0.3, 0.1].map(f64::ln);
    Scales { lengths: vec![0.5f64.ln(), 1.5f64.ln()], surface, bias, noise }
}

fn close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-11, "{actual} is not {expected}");
}

fn check(actual: &[Belief], means: [f64; 2], deviations: [f64; 2]) {
    for ((actual, mean), deviation) in actual.iter().zip(means).zip(deviations) {
        close(actual.mean, mean);
        close(actual.deviation, deviation);
    }
}

/// ```python
/// from sklearn.gaussian_process import GaussianProcessRegressor as R
/// from sklearn.gaussian_process.kernels import ConstantKernel as C, Matern as M
/// x = [[.1, .2], [.4, .9], [.8, .3], [.6, .6]]; z = [.5, -.2, -1., .3]; q = [[.3, .3], [.8, .35]]
/// gp = R(C(1) + C(.8**2) * M([.5, 1.5], nu=2.5), alpha=.1**2, optimizer=None).fit(x, z)
/// print(gp.predict(q, return_std=True), -gp.log_marginal_likelihood_value_ - 2 * np.log(2 * np.pi))
/// ```
#[test]
fn full_runs_without_a_prior_mean_are_those_of_scikit_learn() {
    let samples: Vec<Sample> =
        POINTS.iter().zip(VALUES).map(|(point, value)| sample(point, 0.0, 0.0, value)).collect();
    let distances = distances(2);
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    let beliefs = process.beliefs(&ASKED.each_ref().map(|point| (&point[..], expected(0.0))));
    let means = [0.369_639_818_223_120_64, -0.872_937_731_739_250_8];
    check(&beliefs, means, [0.242_237_966_622_773, 0.099_136_084_340_814_3]);
    close(process.surprise(), 6.877_888_049_153_618);
}

fn mixed() -> Vec<Sample> {
    let of = |index: usize| sample(&POINTS[index], SHORT[index], PRIOR[index], VALUES[index]);
    (0..4).map(of).collect()
}

/// ```python
/// x, z, q = map(np.array, (x, z, q)); g = np.array([0, 1, 0, .5]); m = np.array([.3, -.4, -.9, .1])
/// def k(a, b):
///     r = np.sqrt(5 * (((a[:, None] - b) / [.5, 1.5]) ** 2).sum(2)); return (1 + r + r * r / 3) * np.exp(-r)
/// def cov(a, g, m, b, h, n):
///     return 1 + .4**2 * np.outer(m, n) + .2**2 * np.outer(m * m, n * n) + (.8**2 + .3**2 * np.outer(g, h)) * k(a, b)
/// p, o, r = np.array([-.2, -.8]), np.zeros(2), z - m
/// K = cov(x, g, m, x, g, m) + .1**2 * np.eye(4); c = cov(q, o, p, x, g, m)
/// mean = p + c @ np.linalg.solve(K, r); S = cov(q, o, p, q, o, p) - c @ np.linalg.solve(K, c.T)
/// d = np.array([1, -1])
/// print(mean, np.sqrt(np.diag(S)), .5 * r @ np.linalg.solve(K, r) + .5 * np.linalg.slogdet(K)[1])
/// print(d @ mean, np.sqrt(d @ S @ d))
/// ```
#[test]
fn short_runs_and_a_prior_mean_count_as_numpy_says() {
    let (distances, samples) = (distances(2), mixed());
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    let asked = [(&ASKED[0][..], expected(-0.2)), (&ASKED[1][..], expected(-0.8))];
    let means = [-0.028_526_795_301_999_697, -0.873_434_894_348_442];
    check(&process.beliefs(&asked), means, [0.279_839_468_672_670_34, 0.101_461_124_135_879_81]);
    close(process.surprise(), -1.069_948_817_588_418_6);
    let difference = process.differences(&asked[..1], asked[1])[0];
    close(difference.mean, 0.844_908_099_046_442_4);
    close(difference.deviation, 0.304_652_493_464_201_04);
}

/// ```python
/// r = np.sqrt(5) * .1 / 1.5; print((1 + r + r * r / 3) * np.exp(-r))
/// ```
#[test]
fn a_point_is_as_alike_as_to_the_most_alike_sample() {
    let (distances, samples) = (distances(2), mixed());
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    close(process.likeness(&POINTS[2]), 1.0);
    close(process.likeness(&[0.4, 0.8]), 0.996_315_310_210_280_1);
    close(Process::new(&distances, &scales(), &[]).unwrap().likeness(&[0.4, 0.8]), 0.0);
    // Var(f − f′) = 2·0.8²·(1 − ρ) is (2·0.1)².
    close(process.correlation_within_noise(2.0), 0.968_75);
}

#[test]
fn nothing_is_uncertain_of_the_difference_to_oneself() {
    let (distances, samples) = (distances(2), mixed());
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    let beside: &[f64] = &[0.800_1, 0.3];
    let asked = [(&POINTS[2][..], expected(-0.9)), (beside, expected(-0.9))];
    let differences = process.differences(&asked, asked[0]);
    close(differences[0].mean, 0.0);
    assert!(differences[0].deviation <= 1e-6);
    assert!(differences[1].deviation < 1e-3, "{:?}", differences[1]);
    assert!(process.beliefs(&asked)[1].deviation > 0.05, "its own value is uncertain all the same");
}

/// What is left uncertain of a difference when the observation is there is known without its value.
#[test]
fn what_a_run_reveals_of_a_difference_is_what_it_takes_from_its_variance() {
    let (distances, samples) = (distances(2), mixed());
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    let (asked, reference) =
        ([(&ASKED[0][..], expected(-0.2)), (&POINTS[1][..], expected(0.3))], (&ASKED[1][..], expected(-0.8)));
    for short in [0.0, 0.4, 1.0] {
        let revealed = process.revelations(&asked, &[short; 2], reference);
        for (index, point) in asked.into_iter().enumerate() {
            let before = process.differences(&[point], reference)[0];
            let mut more = samples.clone();
            more.push(sample(point.0, short, point.1.mean, 5.0));
            let later = Process::new(&distances, &scales(), &more).unwrap();
            let after = later.differences(&[point], reference)[0];
            close(revealed[index].mean, before.mean);
            close(revealed[index].deviation.powi(2), before.deviation.powi(2) - after.deviation.powi(2));
        }
    }
}

#[test]
fn the_shorter_a_run_the_less_it_reveals_and_of_the_reference_itself_nothing() {
    let (distances, samples) = (distances(2), mixed());
    let process = Process::new(&distances, &scales(), &samples).unwrap();
    let (point, reference) = ((&ASKED[0][..], expected(0.0)), (&ASKED[1][..], expected(0.0)));
    let told = |short| process.revelations(&[point], &[short], reference)[0].deviation;
    assert!(told(0.0) > told(0.5) && told(0.5) > told(1.0));
    assert!(told(0.0) < process.differences(&[point], reference)[0].deviation);
    assert!(process.revelations(&[reference], &[1.0], reference)[0].deviation <= 1e-6);
}

/// What a run where much is expected is believed to be better than one where little is.
fn believed_worth_of_the_prior(value_of: impl Fn(f64) -> f64) -> f64 {
    let (distances, mut scales) = (distances(2), scales());
    // Samples that tell of the prior mean only, and not of each other.
    scales.lengths = vec![0.01f64.ln(); 2];
    scales.surface = 0.2f64.ln();
    let at = |index: u32| {
        let prior = f64::from(index % 5) / 2.0 - 1.0;
        sample(&[f64::from(index) / 50.0, 0.1], 0.0, prior, value_of(prior))
    };
    let samples: Vec<Sample> = (0..40).map(at).collect();
    let process = Process::new(&distances, &scales, &samples).unwrap();
    let far: &[f64] = &[0.5, 0.9];
    let beliefs = process.beliefs(&[(far, expected(0.0)), (far, expected(-1.0))]);
    beliefs[0].mean - beliefs[1].mean
}

#[test]
fn a_prior_mean_that_the_data_contradict_loses_its_weight() {
    let kept = believed_worth_of_the_prior(|prior| prior);
    assert!((kept - 1.0).abs() < 0.01, "{kept}");
    let unrelated = believed_worth_of_the_prior(|_| 0.3);
    assert!(unrelated.abs() < 0.1, "{unrelated}");
    let opposite = believed_worth_of_the_prior(|prior| -prior);
    assert!(opposite < -0.8, "{opposite}");
}

/// A bowl with its bottom at 10^`best`, as expected at `unit` of the first dimension, which goes from 0 to 1.
fn bowl(best: f64, spread: f64, unit: f64) -> Expected {
    PriorMean { terms: vec![Term { spread, ..term(0, best) }] }.at(&continua(2), &[unit, 0.5], 1.0)
}

#[test]
fn a_bowl_that_lies_elsewhere_is_moved_there() {
    let mut scales = scales();
    // Samples that tell of what was expected only, and not of each other.
    scales.lengths = vec![1e-4f64.ln(); 2];
    scales.surface = 0.05f64.ln();
    let units = [0.02, 0.04, 0.08, 0.3, 0.6];
    let off = |spread: f64| {
        let at = |unit: f64| {
            let prior = bowl(-1.0, spread, unit);
            Sample { prior, ..sample(&[unit, 0.5], 0.0, 0.0, bowl(-0.8, 0.0, unit).mean) }
        };
        let samples: Vec<Sample> = units.map(at).to_vec();
        let process = Process::new(&distances(2), &scales, &samples).unwrap();
        let missed = |unit: f64| {
            let point: &[f64] = &[unit, 0.5];
            let believed = process.beliefs(&[(point, bowl(-1.0, spread, unit))])[0];
            (believed.mean - bowl(-0.8, 0.0, unit).mean).abs()
        };
        missed(0.05).max(missed(0.45))
    };
    assert!(off(0.0) > 0.2 && off(0.3) < 0.05, "{} {}", off(0.0), off(0.3));
}

#[test]
fn a_covariance_that_is_not_positive_definite_gives_no_process() {
    let samples = [sample(&[f64::NAN, 0.0], 0.0, 0.0, 1.0)];
    assert!(Process::new(&distances(2), &scales(), &samples).is_none());
}
