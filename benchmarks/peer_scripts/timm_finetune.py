"""A plain fine-tuning loop: timm's network, torchvision's augmentation online, AdamW with a cosine schedule."""

import torch
from common import accuracy, freeze_norms, image_sets, network, read_options, report
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.transforms import v2

LR = 1e-4
HEAD_LR = 1e-3
BATCH = 32


def main() -> None:
    options = read_options()
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(options.size, scale=(0.5, 1), interpolation=v2.InterpolationMode.BICUBIC)
    flip = [v2.RandomHorizontalFlip()] if options.flip else []
    train, test = image_sets(options, v2.Compose([crop, *flip, v2.ColorJitter(0.2, 0.2, 0.2)]))
    model = network(options, len(train.classes)).to(memory_format=torch.channels_last)
    head = model.get_classifier()
    own = {id(parameter) for parameter in head.parameters()}
    body = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups = [{"params": body}, {"params": head.parameters(), "lr": HEAD_LR}]
    optimizer = torch.optim.AdamW(groups, LR, weight_decay=0.05)
    loader = DataLoader(train, BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    steps = options.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [LR, HEAD_LR], total_steps=steps)
    for _ in range(options.epochs):
        model.train()
        freeze_norms(model)
        for pixels, labels in loader:
            logits = model(pixels.to(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    model.eval()
    with torch.inference_mode():
        pairs = [(model(pixels).argmax(1), labels) for pixels, labels in DataLoader(test, BATCH)]
    share = accuracy(torch.cat([row for row, _ in pairs]), torch.cat([row for _, row in pairs]))
    report(options, f"timm fine-tuning, {options.epochs} epochs", share)


if __name__ == "__main__":
    main()
