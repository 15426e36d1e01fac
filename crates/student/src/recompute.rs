//! A backward pass that keeps of the forward pass only what each layer reads, and computes the rest again.
//!
//! It costs a second forward pass, and saves the memory of all that stands inside the layers but one.
//! Every product is the one that the whole graph would compute, so the gradients are too.

use burn::tensor::Tensor;

use crate::batch::Packed;
use crate::decoder::Decoder;
use crate::network::Network;
use crate::ops;
use crate::optimizer::Gradient;

/// The loss that `loss` makes of a pass's states, and its gradient; layer by layer where
/// `recompute` asks for it and the network is a decoder.
pub(crate) fn backward(
    network: &Network,
    packed: &Packed,
    recompute: bool,
    loss: impl FnOnce(&Tensor<2>) -> Tensor<1>,
) -> (f64, Gradient) {
    if let (true, Some(decoder)) = (recompute, network.decoder()) {
        return by_layer(network, decoder, packed, loss);
    }
    let loss = loss(&network.states(packed));
    let mut gradients = loss.backward();
    let value = f64::from(loss.into_scalar::<f32>());
    (value, Gradient::take(network.parameters(), &mut gradients))
}

fn by_layer(
    network: &Network,
    decoder: &Decoder,
    packed: &Packed,
    loss: impl FnOnce(&Tensor<2>) -> Tensor<1>,
) -> (f64, Gradient) {
    let (tokens, layout) = match &packed.shared {
        Some(shared) => (&shared.tokens, &shared.layout),
        None => (&packed.tokens, &packed.layout),
    };
    let frozen = network.plain();
    let plain = frozen.decoder().expect("a plain decoder is a decoder");
    let mut read = vec![plain.embedded(tokens)];
    for index in 0..plain.n_layers() {
        let next = plain.layer(index, read[index].clone(), layout);
        read.push(next);
    }
    let last = read.pop().expect("the embedding stands there");
    let mut gradient: Option<Gradient> = None;
    let mut add = |found: Gradient| {
        let sum = gradient.take();
        gradient = Some(match sum {
            None => found,
            Some(sum) => sum.add(found),
        });
    };
    let last = last.autodiff().require_grad();
    let mut states = decoder.closed(last.clone());
    if let Some(shared) = &packed.shared {
        states = ops::embedding(&states, &shared.rows);
    }
    let value = loss(&states);
    let mut gradients = value.backward();
    add(Gradient::take(network.parameters(), &mut gradients));
    let mut pull = last.grad_remove(&mut gradients);
    for (index, x) in read.into_iter().enumerate().rev() {
        let Some(slope) = pull else { break };
        let x = x.autodiff().require_grad();
        let y = decoder.layer(index, x.clone(), layout);
        let mut gradients = (y * slope.autodiff()).sum().backward();
        add(Gradient::take(network.parameters(), &mut gradients));
        pull = x.grad_remove(&mut gradients);
    }
    let x = decoder.embedded(tokens);
    if let (true, Some(slope)) = (x.is_tracked(), pull) {
        let mut gradients = (x * slope.autodiff()).sum().backward();
        add(Gradient::take(network.parameters(), &mut gradients));
    }
    let value = f64::from(value.into_scalar::<f32>());
    (value, gradient.expect("the head's gradient was taken"))
}
